//! The corpora in the repository: for each target a few inputs that lead to different outcomes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::targets::Target;

/// How many inputs of a target are kept, and how long they may be.
const KEPT_MAX: usize = 48;
const LENGTH_MAX: usize = 256;

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// The inputs of a target, by name.
///
/// # Errors
/// A file can't be read.
pub fn read(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    if !folder(target).exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder(target))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(fs::read).collect()
}

/// Keeps the shortest input of each outcome, up to a number of them. What a name begins with `found-`
/// was a failure once, and stays.
///
/// # Errors
/// A file can't be written.
pub fn keep(target: &Target, inputs: &[Vec<u8>]) -> io::Result<usize> {
    let mut shortest: BTreeMap<u64, &Vec<u8>> = BTreeMap::new();
    for input in inputs.iter().filter(|input| input.len() <= LENGTH_MAX) {
        let best = shortest.entry((target.run)(input)).or_insert(input);
        if (input.len(), input) < (best.len(), best) {
            *best = input;
        }
    }
    let mut kept: Vec<(u64, &Vec<u8>)> = shortest.into_iter().collect();
    kept.sort_by_key(|(_, input)| input.len());
    kept.truncate(KEPT_MAX);
    let folder = folder(target);
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with("found-") {
            fs::remove_file(entry.path())?;
        }
    }
    for (outcome, input) in &kept {
        fs::write(folder.join(format!("{outcome:016x}")), input)?;
    }
    Ok(kept.len())
}

//! What a binary says it is built from: `build.rs` finds it in Git's files, in a package's, or is told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::fs;
use std::path::Path;

#[path = "../build.rs"]
#[allow(dead_code, reason = "its main is cargo's")]
mod build;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn write(folder: &Path, file: &str, text: &str) {
    let path = folder.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn the_commit_is_found_without_git_however_its_files_lie() {
    let (reference, other) = ("ref: refs/heads/main\n", "f".repeat(40));
    let packed = format!("# pack-refs\n{other} refs/heads/a/main\n{COMMIT} refs/heads/main\n");
    let alone = format!("{COMMIT}\n");
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("a branch", &[(".git/HEAD", reference), (".git/refs/heads/main", &alone)]),
        ("a branch that is packed", &[(".git/HEAD", reference), (".git/packed-refs", &packed)]),
        ("a commit", &[(".git/HEAD", &alone)]),
        (
            "a work tree",
            &[
                (".git", "gitdir: all/.git/worktrees/one\n"),
                ("all/.git/worktrees/one/HEAD", reference),
                ("all/.git/worktrees/one/commondir", "../..\n"),
                ("all/.git/refs/heads/main", &alone),
            ],
        ),
    ];
    for (what, files) in cases {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            write(folder.path(), file, text);
        }
        assert_eq!(build::head(&folder.path().join(".git")).as_deref(), Some(COMMIT), "{what}");
    }
}

#[test]
fn nothing_is_said_where_nothing_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let git = folder.path().join(".git");
    assert_eq!(build::head(&git), None, "no checkout");
    write(folder.path(), ".git/HEAD", "ref: refs/heads/main\n");
    assert_eq!(build::head(&git), None, "a branch without a commit");
    write(folder.path(), ".git/refs/heads/main", "no commit\n");
    assert_eq!(build::head(&git), None, "damaged");
    fs::create_dir(folder.path().join("consumer")).unwrap();
    assert_eq!(build::BuiltFrom::of(&folder.path().join("consumer")).told("1.2.3"), "1.2.3");
}

#[test]
fn a_package_of_a_registry_brings_its_commit() {
    let folder = tempfile::tempdir().unwrap();
    let told = |dirty: &str| {
        let noted = format!(
            "{{\n  \"git\": {{\n    \"sha1\": \"{COMMIT}\"{dirty}\n  }},\n  \"path_in_vcs\": \"consumer\"\n}}"
        );
        write(folder.path(), ".cargo_vcs_info.json", &noted);
        build::BuiltFrom::of(folder.path()).told("1.2.3")
    };
    assert_eq!(told(""), "1.2.3 (0123456789ab)");
    assert_eq!(told(",\n    \"dirty\": true"), "1.2.3 (0123456789ab+)");
}

#[test]
fn a_date_is_that_of_the_calendar() {
    for (seconds, day) in [
        (0, "1970-01-01"),
        (-1, "1969-12-31"),
        (951_782_400, "2000-02-29"),
        (1_709_251_199, "2024-02-29"),
        (1_709_251_200, "2024-03-01"),
        (4_107_542_400, "2100-03-01"),
    ] {
        assert_eq!(build::date(seconds), day);
    }
}

//! A journal's directory in the file system.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

use crate::disk::{Disk, FileName};
use crate::error::OpenError;

/// The directory, and the files of it that are open.
#[derive(Debug)]
pub(crate) struct FileSystem {
    directory: PathBuf,
    /// To sync the directory itself.
    handle: File,
    open: BTreeMap<FileName, File>,
}

/// Entries are a service's data: nobody else reads them.
const OWNER_ONLY_DIRECTORY: u32 = 0o700;
const OWNER_ONLY_FILE: u32 = 0o600;
/// Zeros are written in pieces of this size, where room can't be reserved otherwise.
const ZEROS: usize = 1 << 16;

impl FileSystem {
    /// Opens the directory, and makes it if it is not there.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        make_durably(directory)?;
        let handle = File::open(directory)?;
        Ok(Self { directory: directory.to_owned(), handle, open: BTreeMap::new() })
    }

    fn path(&self, file: FileName) -> PathBuf {
        self.directory.join(file.to_string())
    }

    fn file(&mut self, name: FileName) -> io::Result<&File> {
        if !self.open.contains_key(&name) {
            let file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
            self.open.insert(name, file);
        }
        self.open.get(&name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for FileSystem {
    fn list(&mut self) -> io::Result<Vec<FileName>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            files.extend(FileName::parse(&entry?.file_name().to_string_lossy()));
        }
        Ok(files)
    }

    fn read(&mut self, file: FileName) -> io::Result<Vec<u8>> {
        fs::read(self.path(file))
    }

    fn create(&mut self, name: FileName, length: u64) -> io::Result<()> {
        self.open.remove(&name);
        let mut options = OpenOptions::new();
        options.mode(OWNER_ONLY_FILE);
        let file =
            options.read(true).write(true).create(true).truncate(true).open(self.path(name))?;
        reserve(&file, length)?;
        self.open.insert(name, file);
        Ok(())
    }

    fn write(&mut self, name: FileName, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all_at(bytes, offset)
    }

    fn sync(&mut self, name: FileName) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn rename(&mut self, from: FileName, to: FileName) -> io::Result<()> {
        self.open.remove(&from);
        self.open.remove(&to);
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&mut self, file: FileName) -> io::Result<()> {
        self.open.remove(&file);
        fs::remove_file(self.path(file))
    }
}

/// Makes a directory, and those above it that are missing, and makes their names durable: else a
/// power cut may take the directory away with all that is in it.
fn make_durably(directory: &Path) -> io::Result<()> {
    let missing = directory.ancestors().take_while(|path| !is_there(path)).count();
    DirBuilder::new().recursive(true).mode(OWNER_ONLY_DIRECTORY).create(directory)?;
    for parent in directory.ancestors().skip(1).take(missing) {
        File::open(here_or(parent))?.sync_all()?;
    }
    Ok(())
}

fn is_there(path: &Path) -> bool {
    here_or(path).exists()
}

/// The path; the working directory, if it is what is above a relative one.
fn here_or(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// Reserves room for a file, so that writes within it never meet a full disk.
fn reserve(file: &File, length: u64) -> io::Result<()> {
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, length)) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = vec![0; ZEROS];
            let mut at = 0;
            while at < length {
                let piece = (length - at).min(ZEROS as u64) as usize;
                file.write_all_at(&zeros[..piece], at)?;
                at += piece as u64;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// The lock on a directory: one process has it, until it ends, however it ends.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    pub(crate) file: File,
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // A process that another thread is starting has a copy of the file until it runs its own program:
        // the lock would stand as long as that, if it were only closed here.
        let _ = self.file.unlock();
    }
}

impl DirectoryLock {
    pub(crate) fn take(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join("lock");
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                file.rewind()?;
                write!(file, "{}", std::process::id())?;
                Ok(Self { file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid)?;
                let directory = directory.to_owned();
                Err(OpenError::InUse { directory, pid: pid.trim().parse().ok() })
            }
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

/// The name of the network file system that a directory is on, if it is on one. Known on Linux.
#[cfg(target_os = "linux")]
pub(crate) fn network_file_system(directory: &Path) -> io::Result<Option<&'static str>> {
    let kind = rustix::fs::statfs(directory)?.f_type as u64;
    Ok(network_name(kind))
}

/// The name of the network file system that a directory is on, if it is on one. Known on Linux.
#[cfg(not(target_os = "linux"))]
pub(crate) fn network_file_system(_: &Path) -> io::Result<Option<&'static str>> {
    Ok(None)
}

/// The network file systems by the numbers that Linux gives them.
#[cfg(target_os = "linux")]
fn network_name(kind: u64) -> Option<&'static str> {
    // Some are wider than 32 bits when a signed number is extended.
    Some(match kind & 0xFFFF_FFFF {
        0x6969 => "nfs",
        0x517B | 0xFE53_4D42 | 0xFF53_4D42 => "smb",
        0x6573_5546 => "fuse",
        0x00C3_6400 => "ceph",
        0x0102_1997 => "9p",
        0x5346_414F | 0x6B41_4653 => "afs",
        0x0BD0_0BD0 => "lustre",
        0x4750_4653 => "gpfs",
        0x1983_0326 => "beegfs",
        0x7375_7245 => "coda",
        0x564C => "ncp",
        _ => return None,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_and_local_ones_are_not_taken_for_one() {
        // nfs, cifs (signed), fuse, 9p; ext4, xfs, btrfs, tmpfs, overlayfs, zfs.
        for network in [0x6969, 0xFFFF_FFFF_FF53_4D42, 0x6573_5546, 0x0102_1997] {
            assert!(network_name(network).is_some(), "{network:x}");
        }
        for local in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0x2FC1_2FC1] {
            assert!(network_name(local).is_none(), "{local:x}");
        }
    }
}

//! A disk that loses what was not synced: any subset of it, torn within sectors, at any operation.

use std::collections::BTreeMap;
use std::io;

use crate::disk::{Disk, FileName};

/// A small generator of numbers: the same numbers for the same seed, everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Whether one of `times` cases is this one.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

pub(crate) const SECTOR: usize = 64;

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What a power cut leaves.
    durable: Vec<u8>,
    /// What a read sees.
    visible: Vec<u8>,
    /// Sectors that were written since they were synced, with all that was written to each.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The file was made since it was synced.
    length_is_dirty: bool,
}

#[derive(Clone, Copy, Debug)]
enum NameChange {
    Create(FileName, usize),
    /// The file, from one name to another.
    Rename(usize, FileName, FileName),
    Remove(FileName),
}

/// The disk.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedDisk {
    pub(crate) numbers: Numbers,
    inodes: Vec<Inode>,
    names: BTreeMap<FileName, usize>,
    durable_names: BTreeMap<FileName, usize>,
    changes: Vec<NameChange>,
    /// Bytes that files may have together.
    pub(crate) capacity: u64,
    /// How many operations are left before the crash.
    pub(crate) operations_left: u64,
    /// One in this many operations fails; none if it is 0.
    pub(crate) fails_one_in: u64,
    /// An operation failed.
    pub(crate) has_failed: bool,
    pub(crate) has_crashed: bool,
}

/// Which crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Process,
    Host,
}

impl SimulatedDisk {
    pub(crate) fn new(numbers: Numbers) -> Self {
        Self {
            numbers,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            capacity: u64::MAX,
            operations_left: u64::MAX,
            fails_one_in: 0,
            has_failed: false,
            has_crashed: false,
        }
    }

    /// The bytes that files have.
    pub(crate) fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].visible.len() as u64).sum()
    }

    /// Puts a file there, durably.
    pub(crate) fn put_file(&mut self, file: FileName, bytes: &[u8]) {
        let (durable, visible) = (bytes.to_vec(), bytes.to_vec());
        self.inodes.push(Inode { durable, visible, ..Inode::default() });
        self.names.insert(file, self.inodes.len() - 1);
        self.durable_names.insert(file, self.inodes.len() - 1);
    }

    /// What a file holds.
    pub(crate) fn file(&self, file: FileName) -> Vec<u8> {
        self.names.get(&file).map(|inode| self.inodes[*inode].visible.clone()).unwrap_or_default()
    }

    /// The segments that are there.
    pub(crate) fn segments(&self) -> Vec<u64> {
        let number = |name: &FileName| match name {
            FileName::Segment(number) => Some(*number),
            FileName::Head | FileName::HeadCopy | FileName::Copy(_) => None,
        };
        self.names.keys().filter_map(number).collect()
    }

    /// Loses a file, durably.
    pub(crate) fn lose(&mut self, file: FileName) {
        self.names.remove(&file);
        self.durable_names.remove(&file);
    }

    /// What is left when the process or the machine has ended.
    pub(crate) fn restart(&mut self, end: End) {
        if end == End::Host {
            self.lose_what_is_not_synced();
        }
        self.operations_left = u64::MAX;
        self.fails_one_in = 0;
        self.has_failed = false;
        self.has_crashed = false;
    }

    fn lose_what_is_not_synced(&mut self) {
        let mut names = self.durable_names.clone();
        for change in std::mem::take(&mut self.changes) {
            if self.numbers.one_in(2) {
                apply(&mut names, change);
            }
        }
        for inode in &mut self.inodes {
            let numbers = &mut self.numbers;
            if inode.length_is_dirty && numbers.one_in(2) {
                inode.durable.resize(inode.visible.len(), 0);
            }
            for (sector, versions) in std::mem::take(&mut inode.dirty) {
                tear(&mut inode.durable, sector, &versions, numbers);
            }
            inode.length_is_dirty = false;
            inode.visible.clone_from(&inode.durable);
        }
        self.names = names.clone();
        self.durable_names = names;
    }

    /// One more operation: whether it happens, fails, or is the last one.
    fn operate(&mut self) -> io::Result<()> {
        if self.has_crashed {
            return Err(io::Error::other("the machine has ended"));
        }
        if self.operations_left == 0 {
            self.has_crashed = true;
            return Err(io::Error::other("the machine ends"));
        }
        self.operations_left -= 1;
        if self.fails_one_in > 0 && self.numbers.one_in(self.fails_one_in) {
            self.has_failed = true;
            return Err(io::Error::other("the disk failed"));
        }
        Ok(())
    }

    fn inode(&mut self, file: FileName) -> io::Result<&mut Inode> {
        let inode = self.names.get(&file).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.inodes[*inode])
    }

    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, change);
        self.changes.push(change);
    }

    fn put(&mut self, file: FileName, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let inode = self.inode(file)?;
        let end = offset + bytes.len();
        assert!(end <= inode.visible.len(), "a write stays within its file");
        inode.visible[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let whole = sector * SECTOR..((sector + 1) * SECTOR).min(inode.visible.len());
            let version = inode.visible[whole].to_vec();
            inode.dirty.entry(sector).or_default().push(version);
        }
        Ok(())
    }
}

fn apply(names: &mut BTreeMap<FileName, usize>, change: NameChange) {
    match change {
        NameChange::Create(name, inode) => {
            names.insert(name, inode);
        }
        NameChange::Rename(inode, from, to) => {
            if names.get(&from) == Some(&inode) {
                names.remove(&from);
            }
            names.insert(to, inode);
        }
        NameChange::Remove(name) => {
            names.remove(&name);
        }
    }
}

/// What a sector holds after a crash: what it was, one of what was written to it, a part of that,
/// or nothing that makes sense.
fn tear(durable: &mut [u8], sector: usize, versions: &[Vec<u8>], numbers: &mut Numbers) {
    let at = sector * SECTOR;
    let Some(target) = durable.get_mut(at..) else { return };
    let version = &versions[numbers.below(versions.len() as u64) as usize];
    let length = version.len().min(target.len());
    match numbers.below(8) {
        0..3 => {}
        3..6 => target[..length].copy_from_slice(&version[..length]),
        6 => {
            let torn = numbers.below(length as u64 + 1) as usize;
            target[..torn].copy_from_slice(&version[..torn]);
        }
        _ => {
            for byte in &mut target[..length] {
                *byte = numbers.next() as u8;
            }
        }
    }
}

impl Disk for SimulatedDisk {
    fn list(&mut self) -> io::Result<Vec<FileName>> {
        self.operate()?;
        Ok(self.names.keys().copied().collect())
    }

    fn read(&mut self, file: FileName) -> io::Result<Vec<u8>> {
        self.operate()?;
        Ok(self.inode(file)?.visible.clone())
    }

    fn create(&mut self, file: FileName, length: u64) -> io::Result<()> {
        let was_over = self.has_crashed;
        let operated = self.operate();
        let has_room = self.used() + length <= self.capacity;
        let made = if operated.is_ok() && has_room { length as usize } else { 0 };
        if operated.is_ok() || !was_over && self.numbers.one_in(2) {
            let visible = vec![0; made];
            self.inodes.push(Inode { visible, length_is_dirty: true, ..Inode::default() });
            self.change(NameChange::Create(file, self.inodes.len() - 1));
        }
        operated?;
        if has_room { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn write(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let was_over = self.has_crashed;
        let operated = self.operate();
        if operated.is_ok() {
            return self.put(file, offset as usize, bytes);
        }
        if !was_over {
            let part = self.numbers.below(bytes.len() as u64 + 1) as usize;
            self.put(file, offset as usize, &bytes[..part])?;
        }
        operated
    }

    fn sync(&mut self, file: FileName) -> io::Result<()> {
        let operated = self.operate();
        if operated.is_err() && !self.has_crashed {
            // As kernels do: what failed is called clean, and is never written by itself again.
            let mut numbers = self.numbers.clone();
            let inode = self.inode(file)?;
            for (sector, versions) in std::mem::take(&mut inode.dirty) {
                if numbers.one_in(2) {
                    tear(&mut inode.durable, sector, &versions, &mut numbers);
                }
            }
            self.numbers = numbers;
        }
        operated?;
        let inode = self.inode(file)?;
        if inode.length_is_dirty {
            inode.durable.resize(inode.visible.len(), 0);
            inode.length_is_dirty = false;
        }
        for (sector, versions) in std::mem::take(&mut inode.dirty) {
            if let Some(last) = versions.last() {
                let at = sector * SECTOR;
                let length = last.len().min(inode.durable.len() - at);
                inode.durable[at..at + length].copy_from_slice(&last[..length]);
            }
        }
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.operate()?;
        self.durable_names.clone_from(&self.names);
        self.changes.clear();
        Ok(())
    }

    fn rename(&mut self, from: FileName, to: FileName) -> io::Result<()> {
        self.operate()?;
        let inode = *self.names.get(&from).ok_or(io::ErrorKind::NotFound)?;
        self.change(NameChange::Rename(inode, from, to));
        Ok(())
    }

    fn remove(&mut self, file: FileName) -> io::Result<()> {
        self.operate()?;
        self.inode(file)?;
        self.change(NameChange::Remove(file));
        Ok(())
    }
}

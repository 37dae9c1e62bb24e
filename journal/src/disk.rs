//! What a journal asks of a disk: files of fixed size in one directory.

use std::fmt;
use std::io;

/// A file of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FileName {
    Head,
    /// A new head, before it takes the head's place.
    HeadCopy,
    Segment(u64),
    /// A copy of a segment, before it takes the segment's place.
    Copy(u64),
}

impl FileName {
    /// The file that a name stands for, if it is one of a journal.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let number =
            |text: &str| text.parse().ok().filter(|number| format!("{number:020}") == text);
        match name {
            "head" => Some(Self::Head),
            "head.copy" => Some(Self::HeadCopy),
            _ => match name.rsplit_once('.')? {
                (text, "segment") => number(text).map(Self::Segment),
                (text, "copy") => number(text).map(Self::Copy),
                _ => None,
            },
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::HeadCopy => f.write_str("head.copy"),
            Self::Segment(number) => write!(f, "{number:020}.segment"),
            Self::Copy(number) => write!(f, "{number:020}.copy"),
        }
    }
}

/// A directory on a disk. What was written is on the disk for certain only once it is synced; and a
/// file's name, only once the directory is.
pub(crate) trait Disk {
    /// The files that are there, in any order.
    fn list(&mut self) -> io::Result<Vec<FileName>>;
    fn read(&mut self, file: FileName) -> io::Result<Vec<u8>>;
    /// Makes a file of zeros whose room is reserved, in place of any that is there.
    fn create(&mut self, file: FileName, length: u64) -> io::Result<()>;
    /// Writes within a file's length.
    fn write(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self, file: FileName) -> io::Result<()>;
    fn sync_directory(&mut self) -> io::Result<()>;
    /// Gives a file another name, in place of any that has it.
    fn rename(&mut self, from: FileName, to: FileName) -> io::Result<()>;
    fn remove(&mut self, file: FileName) -> io::Result<()>;
}

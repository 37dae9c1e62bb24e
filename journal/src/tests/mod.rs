//! The journal over a simulated disk, over arbitrary bytes, and in real directories.

mod simulated;
mod histories;
mod cases;
mod bytes;
mod real;
mod kill;

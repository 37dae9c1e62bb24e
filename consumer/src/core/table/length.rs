//! How long a text may be in its column.

/// The length of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// The most characters.
    Characters(usize),
    /// The most bytes in UTF-8.
    Bytes(usize),
    /// The most bytes in an encoding that is not known here, of at most twice the bytes of UTF-8. The
    /// database refuses a longer text, unless only spaces at its end are beyond that.
    Encoded(usize),
}

impl Length {
    /// Why a column of this length would cut `text` off, spaces at its end without a word.
    pub(crate) fn exceeded_by(self, text: &str) -> Option<String> {
        let (most, unit, exceeded) = match self {
            Self::Characters(most) => {
                (most, "characters", text.len() > most && text.chars().count() > most)
            }
            Self::Bytes(most) => (most, "bytes", text.len() > most),
            Self::Encoded(most) => {
                let may_exceed = text.ends_with(' ') && 2 * text.len() > most;
                (most, "bytes", may_exceed || text.len() > most && text.chars().count() > most)
            }
        };
        exceeded.then(|| {
            format!("has more than the column's {most} {unit}, spaces at the end included")
        })
    }
}

//! How writes are spread over rows: how many rows a number of writes touches, and the reverse.

/// Writes that each fall on one of a number of rows at random.
///
/// Real writes prefer some rows, and then fold better than this says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    /// The rows in use. Infinite: each write has a row of its own.
    rows: f64,
}

/// Above this share of distinct rows the writes count as spread without end: the number of rows in
/// use can't be told from so few repetitions.
const NOTHING_REPEATS: f64 = 0.999;

impl Spread {
    /// The spread under which `writes` touch `distinct` rows.
    pub(super) fn of(distinct: f64, writes: f64) -> Self {
        if distinct >= writes * NOTHING_REPEATS {
            return Self { rows: f64::INFINITY };
        }
        // With more rows in use the same writes touch more of them; at least those touched are in use.
        let most = solve(distinct, writes / (2.0 * (1.0 - NOTHING_REPEATS)), |rows| {
            Self { rows }.distinct(writes) - distinct
        });
        Self { rows: most }
    }

    /// How many rows `writes` touch.
    pub(super) fn distinct(self, writes: f64) -> f64 {
        if self.rows.is_infinite() { writes } else { -self.rows * (-writes / self.rows).exp_m1() }
    }

    /// How many writes touch `distinct` rows. Infinite: no number of writes does.
    pub(super) fn writes_for(self, distinct: f64) -> f64 {
        if self.rows.is_infinite() {
            distinct
        } else if distinct >= self.rows {
            f64::INFINITY
        } else {
            -self.rows * (-distinct / self.rows).ln_1p()
        }
    }

    /// How long a round takes in which every row that was written is written to the database once:
    /// as many rows as the database takes in that time. Zero while it takes a row a write. Infinite:
    /// it never keeps up.
    pub(super) fn round(self, writes_per_second: f64, rows_per_second: f64) -> f64 {
        if writes_per_second <= rows_per_second {
            return 0.0;
        }
        if self.rows.is_infinite() {
            return f64::INFINITY;
        }
        solve(0.0, self.rows / rows_per_second, |seconds| {
            rows_per_second * seconds - self.distinct(writes_per_second * seconds)
        })
    }
}

/// Where `f`, which is negative first and positive in the end, passes zero between the two.
fn solve(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if f(middle) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

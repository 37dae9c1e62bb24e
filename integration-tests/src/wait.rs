//! Waiting for a predicate with a deadline: the only way a test here waits for anything.
//!
//! Every wait names what it waits for and, when it gives up, what it saw last. A test passes or
//! fails by what happens, never by when; the deadlines only end what would never end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long any single wait may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(25);

/// What a look at the world showed.
#[derive(Debug)]
pub enum Seen<T> {
    /// What was waited for.
    Done(T),
    /// Not that yet, but this.
    NotYet(String),
}

impl Seen<()> {
    /// Done when `done`; else what was seen instead.
    pub fn when(done: bool, otherwise: impl FnOnce() -> String) -> Self {
        if done { Self::Done(()) } else { Self::NotYet(otherwise()) }
    }
}

/// Looks again and again until `look` shows what is waited for. An error of `look` ends the wait.
pub async fn until<T>(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<Seen<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let last = match look().await? {
            Seen::Done(value) => {
                // Shown when the test fails: where its time went.
                eprintln!("waited {:.1?} for {what}", start.elapsed());
                return Ok(value);
            }
            Seen::NotYet(last) => last,
        };
        if start.elapsed() > patience {
            bail!("waited {patience:?} for {what}; what there was instead: {last}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits for something that is to happen by itself.
pub async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> Result<T> {
    let waited = tokio::time::timeout(PATIENCE, happens).await;
    waited.with_context(|| format!("waited {PATIENCE:?} in vain for {what}"))
}

/// Checks `holds` over and over for as long as a fault is to last. An error ends it at once.
pub async fn throughout(
    lasting: Duration,
    mut holds: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < lasting {
        holds().await?;
        tokio::time::sleep(PAUSE * 4).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_that_is_in_vain_says_what_for_and_what_it_saw() {
        let mut looks = 0;
        let waited = until::<()>("the moon", Duration::from_millis(60), async || {
            looks += 1;
            Ok(Seen::NotYet(format!("clouds, look {looks}")))
        });
        let error = waited.await.unwrap_err().to_string();
        assert!(
            error.starts_with("waited 60ms for the moon; what there was instead: clouds, look")
        );
    }

    #[tokio::test]
    async fn a_wait_ends_with_the_first_look_that_shows_it() {
        let mut looks = 0;
        let third = until("the third look", PATIENCE, async || {
            looks += 1;
            Ok(if looks == 3 { Seen::Done(looks) } else { Seen::NotYet(String::new()) })
        });
        assert_eq!(third.await.unwrap(), 3);
    }
}

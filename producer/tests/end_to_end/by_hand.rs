//! A loader whose every answer the test gives by hand, in whatever order it likes.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use write_behind_producer::{LoadError, Loaded, Loader, NextOffset, Source};

use crate::embedded::{Score, until};

/// A question that waits for its answer.
struct Question {
    keys: Vec<i64>,
    answer: Option<oneshot::Sender<Answer>>,
}

type Answer = Result<Vec<Loaded>, LoadError>;

/// A database that answers when it is told to, and what.
#[derive(Clone, Default)]
pub(crate) struct ByHand {
    questions: Arc<Mutex<Vec<Question>>>,
    pub(crate) sources: Arc<Mutex<Vec<Source>>>,
}

impl ByHand {
    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.questions.lock().expect("no test panics here").len()
    }

    /// Waits for the question of this number, from 0, and says for which keys it is.
    pub(crate) async fn question(&self, number: usize) -> Vec<i64> {
        until("the loader is asked", || self.asked() > number).await;
        self.questions.lock().expect("no test panics here")[number].keys.clone()
    }

    /// Answers the question of this number.
    pub(crate) async fn answer(&self, number: usize, rows: &[Option<Score>]) {
        let loaded = rows.iter().map(|row| {
            let row = row.as_ref().map_or(Ok(Loaded::missing()), Loaded::row);
            row.map(|row| row.at(NextOffset::ZERO))
        });
        self.give(number, loaded.collect()).await;
    }

    /// Fails the question of this number.
    pub(crate) async fn fail(&self, number: usize) {
        self.give(number, Err(LoadError::new("the database is away"))).await;
    }

    async fn give(&self, number: usize, answer: Answer) {
        self.question(number).await;
        let mut questions = self.questions.lock().expect("no test panics here");
        let waiting = questions[number].answer.take().expect("it was not answered before");
        // Its reader's runtime may have ended.
        let _ = waiting.send(answer);
    }

    async fn ask(&self, keys: &[i64]) -> Answer {
        let (answer, waiting) = oneshot::channel();
        let question = Question { keys: keys.to_vec(), answer: Some(answer) };
        self.questions.lock().expect("no test panics here").push(question);
        waiting.await.map_err(LoadError::new)?
    }
}

impl Loader<i64> for ByHand {
    async fn prepare(&self, source: &Source) -> Result<(), LoadError> {
        self.sources.lock().expect("no test panics here").push(source.clone());
        Ok(())
    }

    async fn load(&self, key: &i64) -> Result<Loaded, LoadError> {
        let mut found = self.ask(&[*key]).await?;
        found.pop().ok_or_else(|| LoadError::new("no answer"))
    }

    async fn load_many(&self, keys: &[i64]) -> Result<Vec<Loaded>, LoadError> {
        self.ask(keys).await
    }
}

//! A question to Kafka that a start waits for only briefly.

use std::time::Duration;

use tokio::task::JoinHandle;

/// The answer, if it comes within this time; else the question, which goes on beside the rest: some
/// brokers never answer, and a start must not wait for them.
pub(super) async fn within<T>(
    time: Duration,
    mut question: JoinHandle<Option<T>>,
) -> Result<Option<T>, JoinHandle<Option<T>>> {
    let answer = tokio::time::timeout(time, &mut question).await;
    answer.map(|answer| answer.ok().flatten()).map_err(|_| question)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_question_that_is_never_answered_holds_up_nothing_and_goes_on() {
        let (answer, question) = tokio::sync::oneshot::channel();
        let question = tokio::spawn(async { question.await.ok() });
        let asked = tokio::time::timeout(PATIENCE, within(Duration::ZERO, question)).await;
        let goes_on = asked.expect("the start goes on").unwrap_err();
        answer.send("late").unwrap();
        assert_eq!(goes_on.await.unwrap(), Some("late"));
        let answered = tokio::spawn(async { Some("at once") });
        assert_eq!(within(PATIENCE, answered).await.unwrap(), Some("at once"));
    }
}

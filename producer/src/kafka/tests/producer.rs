//! What a delivery report says of a write.

use super::*;

#[test]
fn only_a_broker_that_refuses_a_record_for_what_it_is_refuses_it_and_the_rest_may_pass() {
    use RDKafkaErrorCode as Code;
    for large in [Code::MessageSizeTooLarge, Code::MessageBatchTooLarge] {
        assert_eq!(given_back(large, true), Some(GivenBack::BatchTooLarge), "{large}");
    }
    for refused in [Code::InvalidMessage, Code::InvalidRecord] {
        assert_eq!(given_back(refused, true), Some(GivenBack::Refused), "{refused}");
    }
    for passing in [
        Code::TopicAuthorizationFailed,
        Code::ClusterAuthorizationFailed,
        Code::UnknownTopicOrPartition,
        Code::NotEnoughReplicas,
        Code::InvalidTimestamp,
        Code::UnsupportedCompressionType,
        Code::PolicyViolation,
        Code::KafkaStorageError,
    ] {
        assert_eq!(given_back(passing, true), Some(GivenBack::NotNow), "{passing}");
        assert_eq!(given_back(passing, false), Some(GivenBack::Unsent), "{passing}");
    }
    for local in [Code::UnknownTopic, Code::UnknownPartition, Code::BrokerDestroy] {
        assert_eq!(given_back(local, true), Some(GivenBack::Unsent), "{local}");
    }
    for cut_off in [Code::PurgeQueue, Code::PurgeInflight, Code::OutOfOrderSequenceNumber] {
        assert_eq!(given_back(cut_off, true), None, "{cut_off}");
    }
}

/// Remembers what it was told.
#[derive(Default)]
struct Told(Mutex<Vec<Failure>>);

impl ReportListener for Told {
    fn answered(&self, _: usize, _: Partition, _: &mut Vec<DeliveryReport>) {}

    fn failed(&self, _: usize, _: Partition, failures: &[Failure]) {
        self.0.lock().unwrap().extend_from_slice(failures);
    }

    fn notify_waiters(&self, _: usize, _: Partition) {}

    fn client_error(&self) {}
}

/// Tells of batches of `records` that were too large, in 12 partitions. Gives the limit afterwards
/// and what the handles were told.
fn refuse_in_all(batch_bytes: &str, records: usize) -> (usize, Vec<Failure>) {
    let properties = [("bootstrap.servers", "localhost"), ("batch.size", batch_bytes)];
    let batch_limit = Arc::new(BatchLimit::of(&KafkaSettings::new(properties, &[]).unwrap()));
    let told = Arc::new(Told::default());
    let reports = DeliveryReports::new(told.clone(), Arc::clone(&batch_limit), 100);
    for partition in 0..12 {
        let failures = (0..records).map(|low_bits| Undelivered {
            low_bits,
            code: RDKafkaErrorCode::MessageSizeTooLarge,
            may_be_logged: false,
        });
        reports.tell_failures(0, Partition(partition), failures.collect(), true);
    }
    let told = told.0.lock().unwrap().clone();
    (batch_limit.bytes(), told)
}

#[test]
fn batches_that_one_client_made_too_large_halve_the_limit_once_and_single_records_do_not() {
    let (limit, told) = refuse_in_all("1000000", 3);
    assert_eq!(limit, 500_000);
    assert!(told.iter().all(|failure| failure.how == GivenBack::BatchTooLarge), "{told:?}");
    let (limit, told) = refuse_in_all("1000000", 1);
    assert_eq!(limit, 1_000_000, "it was one record that was too large");
    assert!(told.iter().all(|failure| failure.how == GivenBack::BatchTooLarge), "{told:?}");
}

#[test]
fn records_whose_small_batch_is_too_large_go_one_by_one() {
    let (limit, told) = refuse_in_all("16384", 3);
    assert_eq!(limit, 16_384);
    assert!(told.iter().all(|failure| failure.how == GivenBack::Refused), "{told:?}");
}

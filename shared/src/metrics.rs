//! The naming, registration and text format that the producer's and the consumer's metrics share.
//!
//! A metric is named `write_behind_<crate>_<what>_<unit>`; counters end in `_total`, times are in
//! seconds and sizes in bytes. Each crate keeps a struct of its metrics on a registry that the
//! embedding program owns, so two handles in one process share no global.

use std::cell::RefCell;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry, TextEncoder,
};

/// Upper bounds of latency buckets, in seconds: from a write to memory up to a stalled database.
pub const LATENCY_BUCKETS_SECONDS: &[f64] = &[
    0.000_001, 0.000_005, 0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5,
    1.0, 5.0, 10.0, 60.0,
];

/// Registers metrics under one prefix, with one set of constant labels.
pub struct Register<'a> {
    registry: &'a Registry,
    prefix: &'static str,
    labels: Vec<(&'static str, String)>,
    registered: RefCell<Vec<Box<dyn Collector>>>,
}

/// What was registered, until it is dropped.
pub struct Registration {
    registry: Registry,
    registered: Vec<Box<dyn Collector>>,
}

impl<'a> Register<'a> {
    /// Registers on `registry`, under names that begin with `prefix`.
    pub fn new(registry: &'a Registry, prefix: &'static str) -> Self {
        Self { registry, prefix, labels: Vec::new(), registered: RefCell::default() }
    }

    /// Adds a label to every metric registered from now on.
    #[must_use]
    pub fn label(mut self, name: &'static str, value: &str) -> Self {
        self.labels.push((name, value.to_owned()));
        self
    }

    /// Registers a counter.
    ///
    /// # Errors
    /// The name is taken, or not a metric's name; so for the other kinds.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.register(IntCounter::with_opts(self.opts(name, help))?)
    }

    /// Registers a gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::with_opts(self.opts(name, help))?)
    }

    /// Registers a histogram of latencies, in seconds.
    pub fn latency(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        let opts = HistogramOpts::from(self.opts(name, help));
        self.register(Histogram::with_opts(opts.buckets(LATENCY_BUCKETS_SECONDS.to_vec()))?)
    }

    /// Registers any other collector, which `build` makes of the options for its name.
    pub fn with<C: Collector + Clone + 'static>(
        &self,
        name: &str,
        help: &str,
        build: impl FnOnce(Opts) -> Result<C, prometheus::Error>,
    ) -> Result<C, prometheus::Error> {
        self.register(build(self.opts(name, help))?)
    }

    /// What was registered so far, to be unregistered when the [`Registration`] is dropped. Without
    /// it, it stays registered.
    #[must_use]
    pub fn registration(self) -> Registration {
        let (registry, registered) = (self.registry.clone(), self.registered.into_inner());
        Registration { registry, registered }
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        let opts = Opts::new(format!("{}_{name}", self.prefix), help);
        self.labels.iter().fold(opts, |opts, (label, value)| opts.const_label(*label, value))
    }

    fn register<C: Collector + Clone + 'static>(&self, c: C) -> Result<C, prometheus::Error> {
        self.registry.register(Box::new(c.clone()))?;
        self.registered.borrow_mut().push(Box::new(c.clone()));
        Ok(c)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        for collector in self.registered.drain(..) {
            // It fails if the program that owns the registry has unregistered it.
            let _ = self.registry.unregister(collector);
        }
    }
}

impl std::fmt::Debug for Register<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let labels = &self.labels;
        f.debug_struct("Register").field("labels", labels).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}

/// All metrics on `registry`, in Prometheus' text format.
///
/// # Errors
/// Two metrics of one name disagree, which [`Register`] never allows.
pub fn render(registry: &Registry) -> Result<String, prometheus::Error> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_carries_its_prefix_and_labels() {
        let registry = Registry::new();
        let register = Register::new(&registry, "write_behind_test").label("topic", "scores");
        register.counter("writes_total", "Writes accepted.").unwrap().inc_by(3);
        assert!(
            render(&registry)
                .unwrap()
                .contains("write_behind_test_writes_total{topic=\"scores\"} 3")
        );
    }

    #[test]
    fn a_registration_ends_with_its_owner_and_the_names_are_free_again() {
        let registry = Registry::new();
        let register = || Register::new(&registry, "write_behind_test");
        let first = register();
        first.gauge("lag_seconds", "Lag.").unwrap();
        let registration = first.registration();
        assert!(register().gauge("lag_seconds", "Lag.").is_err());
        drop(registration);
        assert!(register().gauge("lag_seconds", "Lag.").is_ok());
    }

    #[test]
    fn two_metrics_of_one_name_and_one_label_set_are_refused() {
        let registry = Registry::new();
        let register = Register::new(&registry, "write_behind_test");
        assert!(register.gauge("lag_seconds", "Lag.").is_ok());
        assert!(register.gauge("lag_seconds", "Lag.").is_err());
    }
}

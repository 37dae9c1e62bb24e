//! The tests against real parts, in one program: they share their containers, and while one waits
//! for a broker or a database, others run. Tests that measure their own process stand alone.

#[path = "../../consumer/tests/contract/mod.rs"]
mod contract;

mod bad_records;
mod changed_logs;
mod broker_faults;
mod dead_letters;
mod deployed;
mod fleet;
mod flights;
mod kill;
mod loaders;
mod mysql_contract;
mod operations;
mod other_clients;
mod outage;
mod poolers;
mod postgres_contract;
mod priorities;
mod random_operations;
mod restart;
mod rust_types;
mod refusals;
mod rights;
mod safety;
mod hand_over;
mod journal;
mod schema_trouble;
mod several_servers;
mod security;
mod service;
mod snippets;
mod tokens;
mod urgent;
mod verify;
mod walk;
mod wires;
mod zombie;

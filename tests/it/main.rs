//! The roles together, in process and over gRPC, driven by real clients on port 0.
//!
//! One binary: every test that reaches DataFusion links here, because each such link is heavy.

mod cancel;
mod cases;
mod cluster;
mod damage;
mod exchange;
mod influx;
mod kit;
mod mysql;
mod partial;
mod postgres;
mod query;
mod recovery;
mod tools;
mod trace;
mod watch;

//! The traits over gRPC: a client that implements each, a server that calls one.
//!
//! A role does not know whether its callee is in its process; the tests run both.

mod charge;
mod connect;
mod datanode;
mod listen;
mod metasrv;
mod window;

pub use charge::Accounts;
pub use datanode::{DatanodeClient, serve_datanode};
pub use listen::{MESSAGE_BYTES_MAX, Services};
pub use metasrv::{ConnectMetasrv, MetasrvClient, MetasrvMembers, Wait, serve_metasrv};

//! The settings file of a node.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use super::{Node, Role, number};
use crate::s3::BUCKET;

/// The text of `varve.toml`.
pub(super) fn of(node: &Node, all: &[Node], folder: &Path) -> String {
    let with_role = |role: Role| all.iter().filter(move |node| node.role == role);
    let quoted = |addrs: Vec<SocketAddr>| addrs.iter().map(|addr| format!("\"{addr}\"")).collect::<Vec<_>>().join(", ");
    let metasrvs = quoted(with_role(Role::Metasrv).filter_map(|node| node.grpc).collect());
    let mut text = format!("[node]\nname = \"{}\"\n\n", node.name);
    write!(text, "[{}]\nhttp_addr = \"{}\"\n", node.role.name(), node.http).expect("a string takes everything");
    let mut line = |key: &str, value: String| writeln!(text, "{key} = {value}").expect("a string takes everything");
    if let Some(grpc) = node.grpc {
        line("grpc_addr", format!("\"{grpc}\""));
    }
    match node.role {
        Role::Metasrv => {
            let etcd = with_role(Role::Etcd).map(|node| node.http).collect();
            line("etcd_endpoints", format!("[{}]", quoted(etcd)));
        }
        Role::Frontend => {
            line("mysql_addr", format!("\"{}\"", node.mysql.expect("planned")));
            line("postgres_addr", format!("\"{}\"", node.postgres.expect("planned")));
            line("metasrv_addrs", format!("[{metasrvs}]"));
        }
        Role::Datanode => {
            line("node_id", number(node).to_string());
            line("metasrv_addrs", format!("[{metasrvs}]"));
            line("data_dir", format!("'{}'", folder.join("data").display()));
            let s3 = with_role(Role::S3).map(|node| node.http).next();
            let endpoint = s3.map(|addr| format!("http://{addr}")).unwrap_or_default();
            text.push_str("\n[datanode.s3]\n");
            let mut line =
                |key: &str, value: &str| writeln!(text, "{key} = \"{value}\"").expect("a string takes everything");
            line("endpoint", &endpoint);
            line("bucket", BUCKET);
            line("region", "us-east-1");
        }
        Role::Etcd | Role::S3 => {}
    }
    text
}

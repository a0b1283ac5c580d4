//! What a client, and the judge who reads as one, works through.

use std::sync::Arc;

use varve_frontend::{Connect, Frontend};
use varve_model::Result;
use varve_model::region::Route;
use varve_proto::datanode::DatanodeApi;
use varve_proto::metasrv::MetasrvApi;
use varve_service::task::TaskSet;

/// A process with a frontend, and its ways to the other roles.
pub(crate) struct Door {
    pub(crate) tasks: TaskSet,
    pub(crate) frontend: Arc<Frontend>,
    pub(crate) metasrv: Arc<dyn MetasrvApi>,
    pub(crate) connect: Connect,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("frontend", &self.frontend).finish_non_exhaustive()
    }
}

impl Door {
    /// The datanode of a route.
    pub(crate) fn datanode(&self, route: &Route) -> Result<Arc<dyn DatanodeApi>> {
        (self.connect)(route.node, "")
    }
}

//! What DataFusion's bytes of a plan lose without an error; a plan with such a part has no bytes.
//!
//! A window function comes back without its FILTER, its IGNORE NULLS and its
//! reversal (DataFusion 55: `datafusion-physical-plan/src/windows/proto.rs`),
//! and a scalar function comes back as whatever the reader knows by its name.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::window::{
    PlainAggregateWindowExpr, SlidingAggregateWindowExpr, StandardWindowExpr, WindowExpr,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use varve_model::{Error, Result};

/// Errors: `Unsupported` when the plan read from these bytes would be another one.
pub(super) fn check(plan: &dyn ExecutionPlan) -> Result<()> {
    if let Some(lossy) = windows(plan).iter().find(|window| !survives(window.as_ref())) {
        return Err(Error::unsupported(format!("window function {} has no bytes", lossy.name())));
    }
    plan.children().into_iter().try_for_each(|child| check(child.as_ref()))
}

fn windows(plan: &dyn ExecutionPlan) -> &[Arc<dyn WindowExpr>] {
    if let Some(exec) = plan.downcast_ref::<WindowAggExec>() {
        return exec.window_expr();
    }
    plan.downcast_ref::<BoundedWindowAggExec>().map_or(&[], |exec| exec.window_expr())
}

/// The fields are private but for one, so their values are read where they end the debug form.
/// Another form counts as a loss: that costs a plan its speed and never its answer.
fn survives(window: &dyn WindowExpr) -> bool {
    let any = window.as_any();
    if let Some(standard) = any.downcast_ref::<StandardWindowExpr>() {
        let function = format!("{:?}", standard.get_standard_func_expr());
        return function.ends_with(", is_reversed: false, ignore_nulls: false }");
    }
    let aggregate = any.downcast_ref::<PlainAggregateWindowExpr>().map(PlainAggregateWindowExpr::get_aggregate_expr);
    let aggregate = aggregate.or_else(|| {
        any.downcast_ref::<SlidingAggregateWindowExpr>().map(SlidingAggregateWindowExpr::get_aggregate_expr)
    });
    aggregate.is_some_and(|aggregate| !aggregate.is_reversed()) && format!("{window:?}").ends_with(", filter: None }")
}

/// Functions that every node knows alike. A function of a session, such as those of `pg_catalog`, is not among them.
static KNOWN: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let state = SessionStateBuilder::new().with_default_features().build();
    state.scalar_functions().clone()
});

/// Whether readers find the same function by its name.
pub(super) fn is_known(function: &ScalarUDF) -> bool {
    KNOWN.get(function.name()).is_some_and(|known| **known == *function)
}

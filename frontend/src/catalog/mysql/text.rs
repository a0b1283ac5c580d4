//! `mysql_text`: a value of any type as the text that MySQL's functions see.
//!
//! A function and not a cast, because what it becomes depends on its argument's
//! type: a text stays as it is, so that the optimizer sees the column itself. It
//! is gone from optimized plans, so datanodes need not know it.

use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, cast,
};

/// Its name in a query.
pub(super) const NAME: &str = "mysql_text";

/// The function.
pub(in crate::catalog) fn function(name: &str) -> Option<ScalarUDF> {
    (name == NAME).then(|| ScalarUDF::from(Text { signature: Signature::any(1, Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Text {
    signature: Signature,
}

impl ScalarUDFImpl for Text {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match types {
            [one] if is_text(one) => one.clone(),
            _ => DataType::Utf8,
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [field] = args.arg_fields else { return internal_err!("{NAME} takes one value") };
        let kind = self.return_type(&[field.data_type().clone()])?;
        Ok(Field::new(NAME, kind, field.is_nullable()).into())
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let [value] = <[Expr; 1]>::try_from(args).or_else(|_| internal_err!("{NAME} takes one value"))?;
        Ok(ExprSimplifyResult::Simplified(match value.get_type(info.schema())? {
            kind if is_text(&kind) => value,
            // MySQL's booleans are 1 and 0.
            DataType::Boolean => cast(cast(value, DataType::Int8), DataType::Utf8),
            _ => cast(value, DataType::Utf8),
        }))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{NAME} is not in optimized plans")
    }
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

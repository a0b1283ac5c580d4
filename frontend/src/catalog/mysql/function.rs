//! MySQL's functions and casts by the names, the order and the types that DataFusion has.
//!
//! MySQL turns whatever a function of texts is given into a text, and its CONCAT,
//! LEAST and GREATEST are NULL when one argument is. The types of columns are not
//! known here, so arguments pass through `mysql_text` (see `text`), which the
//! optimizer replaces by a cast or by nothing.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, TimezoneInfo, UnaryOperator, Value,
};

use super::{call, text};

/// Functions of texts: MySQL's name, DataFusion's, and which arguments are texts.
const TEXTS: &[(&str, &str, &[usize])] = &[
    ("ascii", "ascii", &[0]),
    ("bit_length", "bit_length", &[0]),
    ("char_length", "char_length", &[0]),
    ("character_length", "character_length", &[0]),
    ("find_in_set", "find_in_set", &[0, 1]),
    ("instr", "instr", &[0, 1]),
    ("lcase", "lower", &[0]),
    ("left", "left", &[0]),
    ("length", "length", &[0]),
    ("locate", "strpos", &[0, 1]),
    ("lower", "lower", &[0]),
    ("lpad", "lpad", &[0, 2]),
    ("ltrim", "ltrim", &[0]),
    ("mid", "substr", &[0]),
    ("octet_length", "octet_length", &[0]),
    ("repeat", "repeat", &[0]),
    ("replace", "replace", &[0, 1, 2]),
    ("reverse", "reverse", &[0]),
    ("right", "right", &[0]),
    ("rpad", "rpad", &[0, 2]),
    ("rtrim", "rtrim", &[0]),
    ("substr", "substr", &[0]),
    ("substring", "substr", &[0]),
    ("substring_index", "substring_index", &[0, 1]),
    ("trim", "trim", &[0]),
    ("ucase", "upper", &[0]),
    ("upper", "upper", &[0]),
];

/// Rewrites one expression whose parts are rewritten already.
pub(super) fn standard(expr: &mut Expr) {
    match expr {
        Expr::Function(function) => {
            if let Some(other) = of_function(function) {
                *expr = other;
            }
        }
        Expr::Substring { expr, .. } | Expr::Trim { expr, .. } | Expr::Like { expr, .. } | Expr::ILike { expr, .. } => {
            to_text(expr);
        }
        Expr::Position { expr, r#in } => {
            to_text(expr);
            to_text(r#in);
        }
        Expr::Cast { data_type, .. } => cast_type(data_type),
        Expr::Convert { expr: inner, data_type, .. } => {
            let inner = std::mem::replace(inner.as_mut(), null());
            *expr = match data_type.take() {
                None => as_text(inner),
                Some(mut data_type) => {
                    cast_type(&mut data_type);
                    Expr::Cast { kind: CastKind::Cast, expr: Box::new(inner), data_type, array: false, format: None }
                }
            };
        }
        _ => {}
    }
}

/// The types that only MySQL's CAST has, by the names of columns' types.
fn cast_type(data_type: &mut DataType) {
    *data_type = match data_type {
        DataType::Signed | DataType::SignedInteger => DataType::BigInt(None),
        DataType::Unsigned | DataType::UnsignedInteger => DataType::BigIntUnsigned(None),
        DataType::Datetime(precision) => DataType::Timestamp(*precision, TimezoneInfo::None),
        _ => return,
    };
}

/// Another expression in a function's place; or the function is changed where it stands.
fn of_function(function: &mut Function) -> Option<Expr> {
    let name = function.name.to_string().to_ascii_lowercase();
    match name.as_str() {
        "if" => return if_function(function),
        "concat" => return concat(function),
        "least" | "greatest" => return extreme(function),
        "locate" => {
            if let FunctionArguments::List(list) = &mut function.args
                && let [_, _] = list.args[..]
            {
                list.args.reverse();
            }
        }
        _ => {}
    }
    let (_, standard, texts) = TEXTS.iter().find(|known| known.0 == name)?;
    function.name = ObjectName::from(vec![Ident::new(*standard)]);
    if let FunctionArguments::List(list) = &mut function.args {
        for at in *texts {
            if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) = list.args.get_mut(*at) {
                to_text(expr);
            }
        }
    }
    None
}

/// The arguments of a function, if each is an expression; the function is left without them.
fn take_arguments(function: &mut Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &mut function.args else { return None };
    let plain = |arg: &FunctionArg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(_)));
    if !list.args.iter().all(plain) {
        return None;
    }
    let exprs = list.args.drain(..).filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    Some(exprs.collect())
}

fn count(function: &Function) -> usize {
    if let FunctionArguments::List(list) = &function.args { list.args.len() } else { 0 }
}

/// `IF(condition, yes, no)` as CASE; `None` for another number of arguments.
fn if_function(function: &mut Function) -> Option<Expr> {
    if count(function) != 3 {
        return None;
    }
    let [condition, result, other] = <[Expr; 3]>::try_from(take_arguments(function)?).ok()?;
    Some(case(condition, result, Some(other)))
}

/// `CONCAT(a, b, ..)` as `a || b || ..`, which is NULL when a part is.
fn concat(function: &mut Function) -> Option<Expr> {
    if count(function) == 0 {
        return None;
    }
    let parts = take_arguments(function)?.into_iter().map(as_text).collect();
    balanced(parts, &BinaryOperator::StringConcat)
}

/// LEAST and GREATEST: NULL when an argument is.
fn extreme(function: &mut Function) -> Option<Expr> {
    if count(function) < 2 {
        return None;
    }
    let arguments = take_arguments(function)?;
    let missing = arguments.iter().map(|argument| Expr::IsNull(Box::new(argument.clone()))).collect();
    let args = arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    let standard = Function {
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        ..function.clone()
    };
    let none_missing = Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(either(missing)?) };
    Some(case(none_missing, Expr::Function(standard), None))
}

fn either(parts: Vec<Expr>) -> Option<Expr> {
    balanced(parts, &BinaryOperator::Or).map(|expr| Expr::Nested(Box::new(expr)))
}

/// Parts joined by an operator in a tree that is no deeper than it must be. `None` without parts.
fn balanced(mut parts: Vec<Expr>, op: &BinaryOperator) -> Option<Expr> {
    if parts.len() < 2 {
        return parts.pop();
    }
    let right = parts.split_off(parts.len() / 2);
    let (left, right) = (balanced(parts, op)?, balanced(right, op)?);
    Some(Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) })
}

fn case(condition: Expr, result: Expr, other: Option<Expr>) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: other.map(Box::new),
    }
}

fn to_text(expr: &mut Expr) {
    *expr = as_text(std::mem::replace(expr, null()));
}

/// The expression as a text. A constant text stays as it is.
fn as_text(expr: Expr) -> Expr {
    if matches!(&expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_))) {
        return expr;
    }
    call(text::NAME, expr)
}

fn null() -> Expr {
    Expr::Value(Value::Null.into())
}

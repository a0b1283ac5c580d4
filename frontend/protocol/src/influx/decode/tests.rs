use influxdb_line_protocol::{FieldValue, parse_lines};
use proptest::prelude::*;
use varve_model::batch::Values;
use varve_model::limits::LINE_BYTES_MAX;
use varve_model::rows::TableRows;
use varve_model::series::tags_of;

use super::*;

const NANOS: Times = Times { scale_nanos: 1, arrival_nanos: 1_700_000_000_123_456_789 };

fn read(body: &str) -> Decoded {
    both(body.as_bytes(), NANOS)
}

/// Decodes on both ways and asserts that they agree.
fn both(body: &[u8], times: Times) -> Decoded {
    let fast = decode(body, times, 7);
    let slow = run(body, times, 7, Path::Slow);
    assert_eq!(show(&fast.rows), show(&slow.rows), "rows of {:?}", String::from_utf8_lossy(body));
    assert_eq!(fast, slow);
    fast
}

fn cell(table: &TableRows, field: usize, row: usize) -> Option<String> {
    let field = &table.fields[field];
    assert_eq!(field.vector.len(), table.len(), "a short column");
    if !field.vector.is_valid(row) {
        return None;
    }
    let value = match &field.vector.values {
        Values::F64(values) => format!("{:?}", values[row]),
        Values::I64(values) => format!("{}i", values[row]),
        Values::U64(values) => format!("{}u", values[row]),
        Values::Bool(values) => values[row].to_string(),
        Values::String(values) => format!("{:?}", String::from_utf8_lossy(values.get(row))),
        _ => unreachable!("line protocol has no other type"),
    };
    Some(format!("{}={value}", field.name))
}

/// One text per row: table, sorted tags, sorted fields, time.
fn show(rows: &Rows) -> Vec<String> {
    let mut shown = Vec::new();
    for table in &rows.tables {
        for row in 0..table.len() {
            let tags = tags_of(table.keys.get(table.series[row])).map(|(name, value)| format!("{name}={value}"));
            let tags = tags.collect::<Vec<_>>().join(",");
            let mut fields = (0..table.fields.len()).filter_map(|field| cell(table, field, row)).collect::<Vec<_>>();
            fields.sort();
            shown.push(format!("{}|{tags}|{}|{}", table.table, fields.join(","), table.ts[row]));
        }
    }
    shown
}

fn reasons(decoded: &Decoded) -> Vec<(u32, &str)> {
    decoded.errors.iter().map(|error| (error.line, error.reason.as_ref())).collect()
}

#[test]
fn a_line_becomes_a_row() {
    let decoded = read("cpu,host=a,region=eu usage=1.5,n=3i,u=4u,ok=t,s=\"x y\" 1700000000000000000\n");
    assert_eq!(show(&decoded.rows), ["cpu|host=a,region=eu|n=3i,ok=true,s=\"x y\",u=4u,usage=1.5|1700000000000000000"]);
    assert_eq!(decoded.rows.tables[0].tags, ["host", "region"]);
    assert_eq!(decoded.rows.tables[0].origin, [0]);
}

#[test]
fn two_orders_of_one_tag_set_are_one_series() {
    let decoded = read("m,a=1,b=2 v=1 1\nm,b=2,a=1 v=2 2\nm,b=2,a=1 v=3 3\nm,a=1,b=3 v=4 4");
    assert_eq!(decoded.rows.tables[0].series, [0, 0, 0, 1]);
    assert_eq!(decoded.rows.tables[0].keys.len(), 2);
}

#[test]
fn a_field_left_out_is_null_and_columns_stay_aligned() {
    let decoded = read("m a=1,b=2 1\nm b=3 2\nm c=4 3\nm a=5 4\n");
    assert_eq!(show(&decoded.rows), ["m||a=1.0,b=2.0|1", "m||b=3.0|2", "m||c=4.0|3", "m||a=5.0|4"]);
}

#[test]
fn one_name_with_two_types_gives_two_columns() {
    let decoded = read("m v=1 1\nm v=2i 2\nm v=\"x\" 3\nm v=4 4\nm v=5i 5\n");
    let fields = decoded.rows.tables[0].fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>();
    assert_eq!(fields, ["v", "v", "v"]);
    assert_eq!(show(&decoded.rows), ["m||v=1.0|1", "m||v=2i|2", "m||v=\"x\"|3", "m||v=4.0|4", "m||v=5i|5"]);
}

#[test]
fn of_a_field_given_twice_the_last_counts() {
    assert_eq!(
        show(&read("m v=1,v=2 1\nm v=3,v=4 2\nm v=3,v=4i 3\n").rows),
        ["m||v=2.0|1", "m||v=4.0|2", "m||v=3.0,v=4i|3"]
    );
}

#[test]
fn escapes_are_undone_and_other_backslashes_stay() {
    let decoded = read(r#"my\ m\,x,t\=a\ g=v\,1\=\ 2 f\,\=\ k="q\"uo\\te\n" 1"#);
    assert_eq!(show(&decoded.rows), [r#"my m,x|t=a g=v,1= 2|f,= k="q\"uo\\te\\n"|1"#]);
    assert_eq!(show(&read(r"a\b,c\d=e\f g\h=1 1").rows), [r"a\b|c\d=e\f|g\h=1.0|1"]);
    assert_eq!(show(&read(r"a\\,b,c=d e=1 1").rows), [r"a\,b|c=d|e=1.0|1"]);
    // A name with `=` in it never becomes a prediction.
    let decoded = read("m a\\=b=1 1\nm a=b=1 2\nm a\\=b=3 3\n");
    assert_eq!(show(&decoded.rows), ["m||a=b=1.0|1", "m||a=b=3.0|3"]);
    assert_eq!(reasons(&decoded), [(2, "invalid boolean")]);
}

#[test]
fn quotes_in_names_are_part_of_the_name() {
    assert_eq!(show(&read("\"m\",\"t\"=\"v\" \"f\"=1 1").rows), ["\"m\"|\"t\"=\"v\"|\"f\"=1.0|1"]);
}

#[test]
fn a_string_may_hold_line_feeds_and_numbers_count_text_lines() {
    let decoded = read("m s=\"a\nb\" 1\nbad\nm v=1 2");
    assert_eq!(show(&decoded.rows), ["m||s=\"a\\nb\"|1", "m||v=1.0|2"]);
    assert_eq!(reasons(&decoded), [(3, "missing fields")]);
    assert_eq!(decoded.rows.tables[0].origin, [0, 3]);
}

#[test]
fn blank_lines_comments_and_carriage_returns_are_fine() {
    let decoded = read("\n  \n# comment a=\"\n\t# x\nm v=1 1\r\n\r\n  m v=2 2  \nm\tx v=3 3\nm  v=4   4\r");
    assert_eq!(show(&decoded.rows), ["m||v=1.0|1", "m||v=2.0|2", "m||v=4.0|4", "m\tx||v=3.0|3"]);
    assert_eq!(decoded.errors, []);
    assert_eq!(read("").rows.len(), 0);
}

#[test]
fn a_missing_timestamp_is_the_arrival_truncated_to_the_precision() {
    let seconds = Times { scale_nanos: 1_000_000_000, ..NANOS };
    let decoded = both(b"m v=1\nm v=2 \nm v=3 5\nm v=\"x\"", seconds);
    assert_eq!(
        decoded.rows.tables[0].ts,
        [1_700_000_000_000_000_000, 1_700_000_000_000_000_000, 5_000_000_000, 1_700_000_000_000_000_000]
    );
    let before_epoch = Times { scale_nanos: 1_000_000_000, arrival_nanos: -1 };
    assert_eq!(both(b"m v=1", before_epoch).rows.tables[0].ts, [-1_000_000_000]);
}

#[test]
fn the_ends_of_time_are_kept_and_beyond_is_refused() {
    let decoded = read(
        "m v=1 9223372036854775806\nm v=1 -9223372036854775806\nm v=1 9223372036854775807\nm v=1 -9223372036854775807\n\
         m v=1 99999999999999999999\nm v=1 -\n",
    );
    assert_eq!(decoded.rows.tables[0].ts, [i64::MAX - 1, i64::MIN + 2]);
    let range = "time outside range -9223372036854775806 - 9223372036854775806";
    assert_eq!(
        reasons(&decoded),
        [
            (3, range),
            (4, range),
            (5, "strconv.ParseInt: parsing \"99999999999999999999\": value out of range"),
            (6, "strconv.ParseInt: parsing \"-\": invalid syntax"),
        ]
    );
    let millis = Times { scale_nanos: 1_000_000, ..NANOS };
    assert_eq!(reasons(&both(b"m v=1 9223372036855", millis)), [(1, range)]);
    assert_eq!(both(b"m v=1 9223372036854", millis).rows.tables[0].ts, [9_223_372_036_854_000_000]);
}

#[test]
fn every_refusal_has_influxdbs_text() {
    let long = format!("{} v=1", "m".repeat(65_536));
    let cases = [
        (",t=a v=1", "missing measurement"),
        ("m", "missing fields"),
        ("m,t=a", "missing fields"),
        ("m ", "invalid field format"),
        ("m,t=a ", "invalid field format"),
        ("m, v=1", "missing tag key"),
        ("m,=a v=1", "missing tag key"),
        ("m,,t=a v=1", "missing tag key"),
        ("m,t v=1", "missing tag value"),
        ("m,t= v=1", "missing tag value"),
        ("m,t=,u=b v=1", "missing tag value"),
        ("m,t=a=b v=1", "invalid tag format"),
        ("m,t=a,t=b v=1", "duplicate tags"),
        ("m,b=1,a=2,b=3 v=1", "duplicate tags"),
        ("m =1", "missing field key"),
        ("m a=1,=2", "missing field key"),
        ("m a=", "missing field value"),
        ("m a=,b=1", "missing field value"),
        ("m a= 5", "missing field value"),
        ("m a", "invalid field format"),
        ("m a 5", "invalid field format"),
        ("m a=1,b", "invalid field format"),
        ("m a=1, 5", "invalid field format"),
        ("m a=\"x\"y 5", "invalid field format"),
        ("m a=\"x", "unbalanced quotes"),
        ("m a=NaN", "invalid number"),
        ("m a=1.1.1", "invalid number"),
        ("m a=-", "invalid number"),
        ("m a=.", "invalid number"),
        ("m a=1i0", "invalid number"),
        ("m a=1.5i", "invalid number"),
        ("m a=0x10", "invalid number"),
        ("m a=1e", "invalid float"),
        ("m a=1e999", "invalid float"),
        ("m a=tru", "invalid boolean"),
        ("m a=x", "invalid boolean"),
        ("m a=+1", "invalid boolean"),
        ("m a=1 5x", "bad timestamp"),
        ("m a=1 5\t", "bad timestamp"),
        ("m a=1 1.5", "bad timestamp"),
        ("m a=1 5 6", "point is invalid"),
        (
            "m a=9223372036854775808i",
            "unable to parse integer 9223372036854775808: strconv.ParseInt: parsing \"9223372036854775808\": value out of range",
        ),
        (
            "m a=18446744073709551616u",
            "unable to parse unsigned 18446744073709551616: strconv.ParseUint: parsing \"18446744073709551616\": value out of range",
        ),
        (&long, "max key length exceeded: 65536 > 65535"),
        ("m\0 v=1", "line contains a NUL byte"),
        ("\u{feff}m v=1", "line starts with a byte order mark"),
    ];
    for (line, reason) in cases {
        for body in [line.to_owned(), format!("m v=1,a=1 1\n{line}\nm v=2 2")] {
            let decoded = read(&body);
            // An unbalanced quote takes the rest of the body.
            let rows = if body.len() == line.len() { 0 } else { 2 - usize::from(reason == "unbalanced quotes") };
            assert_eq!(decoded.rows.len(), rows, "rows beside {line:.100}");
            assert_eq!(decoded.errors.len(), 1, "errors of {line:.100}");
            assert_eq!(decoded.errors[0].reason, reason, "reason of {line:.100}");
            assert_eq!(decoded.errors[0].fault, Fault::Unparsable);
        }
    }
}

#[test]
fn points_against_the_rules_are_dropped_and_leave_no_trace() {
    let wide = format!("w {} 1", (0..10_000).map(|n| format!("f{n}=1")).collect::<Vec<_>>().join(","));
    let cases = [
        ("m,time=a v=1", "invalid tag key: input tag \"time\" on measurement \"m\" is invalid"),
        ("m time=1", "invalid field name: input field \"time\" on measurement \"m\" is invalid"),
        ("m,__sid=a v=1", "column name '__sid' is reserved: it begins with '__'"),
        ("m __seq=1", "column name '__seq' is reserved: it begins with '__'"),
        (&wide, "measurement \"w\" would have more than 1000 columns"),
        (&format!("m {}=1", "f".repeat(129)), "field name is longer than 128 bytes"),
        (&format!("{} v=1", "m".repeat(257)), "measurement is longer than 256 bytes"),
        (&format!("m,t={} v=1", "x".repeat(1025)), "value of tag \"t\" is longer than 1024 bytes"),
    ];
    for (line, reason) in cases {
        let decoded = read(&format!("{line}\n{line}"));
        assert_eq!(decoded.rows.tables, [], "{reason}");
        assert_eq!(decoded.dropped, 2);
        assert_eq!((decoded.errors[0].reason.as_ref(), decoded.errors[0].fault), (reason, Fault::Dropped));
    }
    let decoded = read("m time=1,v=2 1");
    assert_eq!(show(&decoded.rows), ["m||v=2.0|1"]);
}

#[test]
fn invalid_utf8_spoils_its_own_line_only() {
    let decoded = both(b"m v=1 1\nm,t=\xff v=2 2\nm v=3 3\nm s=\"\xc3\" 4\nm s=\"\xc3\xa4\" 5", NANOS);
    assert_eq!(show(&decoded.rows), ["m||v=1.0|1", "m||v=3.0|3", "m||s=\"\u{e4}\"|5"]);
    assert_eq!(reasons(&decoded), [(2, "invalid UTF-8"), (4, "invalid UTF-8")]);
}

#[test]
fn the_reports_of_a_hopeless_body_are_bounded() {
    let decoded = read(&"x\n".repeat(5000));
    assert_eq!((decoded.errors.len(), decoded.errors_more), (LINE_ERRORS_MAX, 4000));
}

#[test]
fn the_end_of_the_body_is_no_part_of_a_bad_lines_text() {
    for (body, text) in [("m v=\"x\n", "m v=\"x"), ("m\\\n\n", "m\\"), (" m\r\n", "m")] {
        let decoded = read(body);
        assert_eq!(decoded.errors.iter().map(|error| error.text.as_str()).collect::<Vec<_>>(), [text]);
    }
}

#[test]
fn a_line_too_long_is_refused_on_both_ways() {
    let fields = vec!["v=1"; LINE_BYTES_MAX / 4 + 1].join(",");
    let decoded = read(&format!("m v=1 1\nm {fields} 2\nm v=3 3"));
    assert_eq!(show(&decoded.rows), ["m||v=1.0|1", "m||v=3.0|3"]);
    assert_eq!(reasons(&decoded), [(2, "line is longer than 262144 bytes")]);
    assert_eq!(decoded.errors[0].text.len(), LINE_TEXT_BYTES_MAX);
}

#[test]
fn a_failed_fast_row_leaves_no_value_behind() {
    let decoded = read("m a=1,b=2 1\nm a=3,b=4 x\nm a=5,b=oops 3\nm a=6,b=7 4\nm a=8,zz=9x 5\nm b=1 6");
    assert_eq!(show(&decoded.rows), ["m||a=1.0,b=2.0|1", "m||a=6.0,b=7.0|4", "m||b=1.0|6"]);
}

#[test]
fn numbers_are_read_like_the_standard_library_does() {
    for text in [
        "1",
        "-1",
        "1.",
        ".5",
        "-0",
        "1e3",
        "1E-3",
        "1e+3",
        "1.e5",
        ".5e1",
        "-.5",
        "00012",
        "0.1",
        "123456789012345678901234567890",
        "5e-324",
    ] {
        let decoded = read(&format!("m v=1 0\nm v={text} 1"));
        let Values::F64(values) = &decoded.rows.tables[0].fields[0].vector.values else { panic!("{text} is a float") };
        assert_eq!(values[1].to_bits(), text.parse::<f64>().expect("a number").to_bits(), "{text}");
    }
    let decoded = read("m v=-9223372036854775808i 1\nm v=9223372036854775807i 2\nm w=18446744073709551615u 3");
    assert_eq!(
        show(&decoded.rows),
        ["m||v=-9223372036854775808i|1", "m||v=9223372036854775807i|2", "m||w=18446744073709551615u|3"]
    );
}

fn name() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a-c =,\"é]{0,3}[a-c]").expect("regex")
}

fn escape(text: &str, specials: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        if specials.contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| format!("{n}i")),
        any::<u64>().prop_map(|n| format!("{n}u")),
        any::<i32>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:?}")),
        prop_oneof!["t", "F", "true", "False", "TRUE"].prop_map(|text| text.clone()),
        "[a-c ,=\n#é]{0,5}".prop_map(|text| format!("\"{text}\"")),
        "[a\"\\\\]{0,4}".prop_map(|text| format!("\"{}\"", escape(&text, "\"\\"))),
    ]
}

fn good_line() -> impl Strategy<Value = String> {
    let tags = proptest::collection::btree_map(name(), name(), 0..4);
    let fields = proptest::collection::vec((name(), value()), 1..5);
    (name(), tags, fields, proptest::option::of(any::<i64>())).prop_map(|(table, tags, fields, ts)| {
        let mut line = escape(&table, ", ");
        for (tag, value) in tags {
            line.extend([",", &escape(&tag, ",= "), "=", &escape(&value, ",= ")]);
        }
        let fields = fields.iter().map(|(field, value)| format!("{}={value}", escape(field, ",= ")));
        line.extend([" ", &fields.collect::<Vec<_>>().join(",")]);
        if let Some(ts) = ts {
            line.extend([" ", &ts.to_string()]);
        }
        line
    })
}

/// The row as the published crate reads it; `None` where it refuses.
fn oracle(line: &str) -> Option<String> {
    let mut lines = parse_lines(line);
    let parsed = lines.next()?.ok()?;
    if lines.next().is_some() {
        return None;
    }
    let mut tags =
        parsed.series.tag_set.iter().flatten().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Vec<_>>();
    tags.sort();
    let tags = tags.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
    let mut fields = std::collections::BTreeMap::new();
    for (field, value) in &parsed.field_set {
        let (kind, text) = match value {
            FieldValue::F64(value) => (0, format!("{value:?}")),
            FieldValue::I64(value) => (1, format!("{value}i")),
            FieldValue::U64(value) => (2, format!("{value}u")),
            FieldValue::Boolean(value) => (3, value.to_string()),
            FieldValue::String(value) => (4, format!("{:?}", value.as_str())),
        };
        fields.insert((field.to_string(), kind), format!("{field}={text}"));
    }
    let mut fields = fields.into_values().collect::<Vec<_>>();
    fields.sort();
    let ts = parsed.timestamp.unwrap_or(NANOS.arrival_nanos);
    Some(format!("{}|{tags}|{}|{ts}", parsed.series.measurement, fields.join(",")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn good_lines_read_as_the_published_crate_reads_them(lines in proptest::collection::vec(good_line(), 1..6)) {
        let decoded = read(&lines.join("\n"));
        let mut expected = lines.iter().filter_map(|line| {
            let row = oracle(line)?;
            let ts = row.rsplit('|').next()?.parse::<i64>().ok()?;
            (number::NANOS_MIN..=number::NANOS_MAX).contains(&ts).then_some(row)
        }).collect::<Vec<_>>();
        expected.sort();
        let mut found = show(&decoded.rows);
        found.sort();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn both_readers_agree_on_anything(
        lines in proptest::collection::vec(prop_oneof![
            4 => "(m|n)(,a=[x-z]{0,1}){0,1}(,b=[x-z]){0,1} (f=-?[0-9.e]{1,3}[iu]?)(,(f|g|h)=([0-9]{1,20}i?|t|true|\"q\")){0,2}( -?[0-9]{0,20})?",
            2 => good_line(),
            1 => "[mn, =\"\\\\#\ta1.ie\r\u{0}-]{0,20}",
        ], 0..12),
        scale in prop_oneof![Just(1i64), Just(1_000_000), Just(3_600_000_000_000)],
    ) {
        both(lines.join("\n").as_bytes(), Times { scale_nanos: scale, ..NANOS });
    }

    #[test]
    fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        both(&body, NANOS);
    }
}

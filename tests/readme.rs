//! The README shows what is in the repository.

#[test]
fn hello_room_is_twenty_lines_at_most_and_stands_in_the_readme_as_it_is() {
    let program = include_str!("../examples/hello_room.rs");
    assert!(program.lines().count() <= 20, "hello_room has {} lines", program.lines().count());
    assert!(include_str!("../README.md").contains(program), "copy examples/hello_room.rs into the README");
}

#[test]
fn the_table_of_who_may_do_what_stands_in_the_readme_as_the_code_prints_it() {
    let table = parlor::room::policy::table();
    assert!(include_str!("../README.md").contains(table.trim_end()), "copy src/room/policy.md into the README");
}

#[test]
fn every_test_that_the_limits_name_is_there() {
    let table = include_str!("../README.md").split_once("## Limits").unwrap().1.split_once("\n## ").unwrap().0;
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    for row in rows {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let named: Vec<_> = tests.split('`').filter_map(|part| part.split_once(".rs: ")).collect();
        assert!(!named.is_empty(), "no test: {row}");
        for (file, test) in named {
            let folder = if file.starts_with("src/") { "" } else { "tests/" };
            let path = format!("{}/{folder}{file}.rs", env!("CARGO_MANIFEST_DIR"));
            let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(
                source.contains(&format!("#[test]\n    fn {test}()"))
                    || source.contains(&format!("#[test]\nfn {test}()")),
                "{path} has no test {test}"
            );
        }
    }
}

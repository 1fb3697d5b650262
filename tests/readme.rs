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

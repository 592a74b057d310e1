use super::*;

fn check(password: &str, wanted: Option<f64>) {
    assert_eq!(difficulty(password), wanted, "{password:?}");
}

#[test]
fn every_name_and_separator_is_known() {
    // V1-45
    check("d=500", Some(500.0));
    check("x,d=500", Some(500.0));
    check("x;diff=0.001", Some(0.001));
    check("x|difficulty=1e6", Some(1e6));
    check("x&sd=42", Some(42.0));
    check("x suggestdiff=7", Some(7.0));
    check("D=8,x", Some(8.0));
}

#[test]
fn the_first_counts() {
    check("d=1,d=2", Some(1.0));
    check("d=abc,diff=3", Some(3.0));
}

#[test]
fn everything_else_is_only_a_password() {
    for password in
        ["", "x", "d", "d=", "d=-1", "d=0", "d=nan", "d=inf", "xd=5", "d =5", "=5", "d=5k", "password=5"]
    {
        check(password, None);
    }
}

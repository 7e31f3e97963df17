//! Joins that compare more pairs than anybody can wait for, beside others and cut off.

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::CooperativeJoins;

const LARGE: &str = "generate_series(1, 100000)";

fn builder() -> SessionStateBuilder {
    SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(2))
        .with_default_features()
}

fn context() -> SessionContext {
    let rule = std::sync::Arc::new(CooperativeJoins);
    let state = builder().with_physical_optimizer_rule(rule).build();
    SessionContext::new_with_state(state)
}

/// Whether `SELECT 1` is answered on the one thread that `statement` runs on, which then ends when
/// it is cancelled. A join that keeps the thread makes this test last for ever.
async fn check(statement: String) {
    let context = context();
    let stuck = context.sql(&statement).await.expect(&statement);
    let stuck = tokio::spawn(stuck.collect());
    tokio::task::yield_now().await;
    let rows = context.sql("SELECT 1").await.unwrap().collect().await;
    assert_eq!(rows.unwrap()[0].num_rows(), 1);
    assert!(!stuck.is_finished(), "{statement}");
    stuck.abort();
    assert!(stuck.await.unwrap_err().is_cancelled(), "{statement}");
}

#[tokio::test]
async fn join_of_all_pairs_lets_others_run_and_can_be_cancelled() {
    let (a, b) = (format!("{LARGE} AS a(x)"), format!("{LARGE} AS b(y)"));
    check(format!("SELECT count(*) FROM {a}, {b} WHERE x + y = -5")).await;
    check(format!("SELECT sum(x * y) FROM {a} CROSS JOIN {b}")).await;
    for join in ["LEFT", "RIGHT", "FULL"] {
        check(format!(
            "SELECT count(*) FROM {a} {join} JOIN {b} ON x + y < 0"
        ))
        .await;
    }
    for exists in ["EXISTS", "NOT EXISTS"] {
        check(format!(
            "SELECT count(*) FROM {a} WHERE {exists} (SELECT 1 FROM {b} WHERE x + y < 0)"
        ))
        .await;
    }
}

#[tokio::test]
async fn join_of_repeated_keys_lets_others_run_and_can_be_cancelled() {
    let a = format!("(SELECT value AS x, value % 2 AS k FROM {LARGE}) a");
    let b = format!("(SELECT value AS y, value % 2 AS k FROM {LARGE}) b");
    for join in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] {
        check(format!(
            "SELECT count(*) FROM {a} {join} {b} ON a.k = b.k AND a.x + b.y < 0"
        ))
        .await;
    }
    check(format!("SELECT sum(x * y) FROM {a} JOIN {b} ON a.k = b.k")).await;
    check(format!(
        "SELECT count(*) FROM {a} WHERE NOT EXISTS (SELECT 1 FROM {b} WHERE a.k = b.k AND a.x + b.y < 0)"
    ))
    .await;
}

/// One key of many holds nearly all rows: batches before it meet nothing.
#[tokio::test]
async fn join_of_one_frequent_key_lets_others_run() {
    let keys = "CASE WHEN value < 10000 THEN value ELSE 0 END AS k";
    let side = |name: &str| format!("(SELECT value AS x, {keys} FROM {LARGE}) {name}");
    check(format!(
        "SELECT count(*) FROM {} JOIN {} ON a.k = b.k AND a.x + b.x < 0",
        side("a"),
        side("b")
    ))
    .await;
}

/// The oracle is DataFusion without the rule.
#[tokio::test]
async fn sliced_joins_have_the_same_rows() {
    let a = "(SELECT value AS x, value % 7 AS k FROM generate_series(1, 1500)) a";
    let b = "(SELECT value AS y, CASE WHEN value < 900 THEN 1 ELSE value % 7 + 2 END AS k \
             FROM generate_series(1, 1300)) b";
    let (with, without) = (context(), SessionContext::new_with_state(builder().build()));
    for join in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] {
        for on in ["a.k = b.k", "a.k = b.k AND x < y", "x < y", "x + y = 1000"] {
            let statement = format!(
                "SELECT count(*), sum(x), sum(y), count(x), count(y) FROM {a} {join} {b} ON {on}"
            );
            let answer = async |context: &SessionContext| {
                let rows = context.sql(&statement).await.unwrap().collect().await;
                pretty_format_batches(&rows.unwrap()).unwrap().to_string()
            };
            assert_eq!(answer(&with).await, answer(&without).await, "{statement}");
        }
    }
    let cube = format!(
        "SELECT count(*) FROM (SELECT x, k, x % 3, x % 5, x % 2 FROM {a} GROUP BY CUBE (x, k, x % 3, x % 5, x % 2)) t"
    );
    let rows = async |context: &SessionContext| {
        let rows = context.sql(&cube).await.unwrap().collect().await;
        pretty_format_batches(&rows.unwrap()).unwrap().to_string()
    };
    assert_eq!(rows(&with).await, rows(&without).await);
}

//! Every field of a submit in every wrong form (V1-67, V1-68): an answer, and the connection lives.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_tests::miner::{Miner, error_code};

use super::{good_share, pool, still_serves, user};

/// Positions of a submit's parameters.
const FIELDS: [(usize, &str); 5] =
    [(1, "job"), (2, "extranonce2"), (3, "ntime"), (4, "nonce"), (5, "version bits")];

fn wrong() -> Vec<Value> {
    let mut values: Vec<Value> = [
        "",
        "zzzzzzzz",
        "0x000001",
        "123456789",
        "00000000000000000000",
        "+1234567",
        " 1234567",
        "12 34567",
        "\u{ff11}",
    ]
    .map(Value::from)
    .to_vec();
    values.extend([
        json!(null),
        json!(7),
        json!(-1),
        json!(1.5),
        json!(true),
        json!([]),
        json!({}),
        json!("f".repeat(6000)),
    ]);
    values
}

#[tokio::test]
async fn wrong_fields_are_refused_and_nothing_ends() -> Result<()> {
    let pool = pool().await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let job = miner.job().await?;
    for (index, field) in FIELDS {
        for value in wrong() {
            // A version that is null was not sent (V1-34).
            let absent = index == 5 && value.is_null();
            let share = miner.mine(&job)?;
            let mut params: Vec<Value> =
                share.params(&user()).as_array().into_iter().flatten().cloned().collect();
            params.resize(params.len().max(index + 1), Value::Null);
            params[index] = value.clone();
            let reply = miner.call("mining.submit", Value::from(params)).await;
            let reply = reply.with_context(|| format!("{field} as {value}"))?;
            if absent {
                continue;
            }
            let code = error_code(&reply).with_context(|| format!("{field} as {value}"))?;
            let expected: &[i64] = if field == "job" { &[20, 21] } else { &[20] };
            ensure!(expected.contains(&code), "{field} as {value} is refused with {code}");
        }
        // A run of refusals is forgiven where good work comes between.
        good_share(&mut miner).await?;
    }
    still_serves(&pool).await
}

#[tokio::test]
async fn too_few_parameters_are_refused_and_more_are_ignored() -> Result<()> {
    let pool = pool().await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let job = miner.job().await?;
    for count in 0..5 {
        let share = miner.mine(&job)?;
        let params: Vec<Value> =
            share.params(&user()).as_array().into_iter().flatten().take(count).cloned().collect();
        super::ensure_code(&miner.call("mining.submit", Value::from(params)).await?, 20)?;
    }
    let share = miner.mine(&job)?;
    let mut params = share.params(&user());
    if let Some(list) = params.as_array_mut() {
        list.extend([json!("00000000"), json!("extra"), json!({"more": 1})]);
    }
    let reply = miner.call("mining.submit", params).await?;
    ensure!(reply["result"] == true, "{reply}");
    Ok(())
}

#[tokio::test]
async fn upper_case_and_unpadded_numbers_are_numbers() -> Result<()> {
    let pool = pool().await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let job = miner.job().await?;
    let share = miner.mine(&job)?;
    let params = json!([
        user(),
        share.job,
        hex::encode_upper(&share.extranonce2),
        format!("{:X}", share.ntime),
        format!("{:X}", share.nonce),
        "0",
    ]);
    let reply = miner.call("mining.submit", params).await?;
    ensure!(reply["result"] == true, "{reply}");
    Ok(())
}

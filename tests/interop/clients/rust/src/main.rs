//! `client mi RESOURCE_OR_SCOPE [--twice]`: a token from azure_identity, told as one line of JSON.
use std::{env, error::Error, process::ExitCode, time::Instant};

use azure_core::credentials::{AccessToken, TokenCredential};
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

type Failure = Box<dyn Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut seconds = Vec::new();
    let outcome = ask(&env::args().skip(1).collect::<Vec<_>>(), &mut seconds).await;
    let ok = outcome.is_ok();
    let mut line = outcome.unwrap_or_else(|error| json!({"error": explained(error.as_ref())}));
    line["ok"] = json!(ok);
    line["seconds"] = json!(seconds);
    println!("{line}");
    ExitCode::from(u8::from(!ok))
}

async fn ask(arguments: &[String], seconds: &mut Vec<f64>) -> Result<Value, Failure> {
    let [mode, wanted, rest @ ..] = arguments else {
        return Err("usage: client mi RESOURCE_OR_SCOPE [--twice]".into());
    };
    if mode != "mi" {
        return Err(format!("there is no mode {mode}: azure_identity has no DefaultAzureCredential").into());
    }
    let scope = format!("{}/.default", wanted.trim_end_matches("/.default"));
    let credential = ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
        user_assigned_id: selector(),
        ..Default::default()
    }))?;
    let mut answer = Value::Null;
    for _ in 0..1 + usize::from(rest.iter().any(|each| each == "--twice")) {
        let start = Instant::now();
        let got = credential.get_token(&[scope.as_str()], None).await;
        seconds.push(start.elapsed().as_secs_f64());
        answer = described(&got?)?;
    }
    Ok(answer)
}

fn selector() -> Option<UserAssignedId> {
    let value = |name| env::var(name).ok().filter(|text| !text.is_empty());
    (value("WISP_CLIENT_ID").map(UserAssignedId::ClientId))
        .or_else(|| value("WISP_OBJECT_ID").map(UserAssignedId::ObjectId))
        .or_else(|| value("WISP_RESOURCE_ID").map(UserAssignedId::ResourceId))
}

fn described(got: &AccessToken) -> Result<Value, Failure> {
    let token = got.token.secret();
    let payload = token.split('.').nth(1).ok_or("the token is no JWT")?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
    Ok(json!({
        "expires_on": got.expires_on.unix_timestamp(),
        "token_sha256": format!("{:x}", Sha256::digest(token)),
        "appid": claims["appid"], "oid": claims["oid"], "aud": claims["aud"],
    }))
}

fn explained(error: &dyn Error) -> String {
    let mut text = format!("azure_core::Error: {error}");
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}

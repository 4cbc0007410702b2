// `node client.js mi|dac|token-proxy|msal RESOURCE_OR_SCOPE [--twice | --challenged]`: a token by @azure/identity or
// @azure/msal-node, told as one line of JSON. --challenged has msal ask again with the claims by which a resource has
// rejected the first token (continuous access evaluation), and tells both.
"use strict";
const { createHash } = require("node:crypto");

const CHALLENGE = JSON.stringify({ access_token: { nbf: { essential: true, value: "1" } } });
const { WISP_CLIENT_ID: clientId, WISP_OBJECT_ID: objectId, WISP_RESOURCE_ID: resourceId } = process.env;

/** Return a function that asks once, with the claims of a challenge if there are any; it resolves to a token and when it
 * expires, in Unix milliseconds. */
function credential(mode, resource, clientCapabilities) {
  if (mode === "msal") {
    const { ManagedIdentityApplication } = require("@azure/msal-node");
    const managedIdentityIdParams = {
      userAssignedClientId: clientId,
      userAssignedObjectId: objectId,
      userAssignedResourceId: resourceId,
    };
    const application = new ManagedIdentityApplication({ managedIdentityIdParams, clientCapabilities });
    return async (claims) => {
      const { accessToken, expiresOn } = await application.acquireToken({ resource, claims });
      return [accessToken, expiresOn.getTime()];
    };
  }
  const identity = require("@azure/identity");
  const credentials = {
    mi: () => new identity.ManagedIdentityCredential({ clientId, objectId, resourceId }),
    dac: () =>
      new identity.DefaultAzureCredential({ managedIdentityClientId: clientId, managedIdentityResourceId: resourceId }),
    "token-proxy": () => new identity.WorkloadIdentityCredential({ enableAzureProxy: true }),
  };
  const made = credentials[mode]();
  return async () => {
    const { token, expiresOnTimestamp } = await made.getToken(`${resource}/.default`);
    return [token, expiresOnTimestamp];
  };
}

/** Return what may be shown of a token. */
function described([token, expires]) {
  const { appid, oid, aud } = JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
  const token_sha256 = createHash("sha256").update(token).digest("hex");
  return { expires_on: Math.floor(expires / 1000), token_sha256, appid, oid, aud };
}

async function main([mode, wanted, ...rest]) {
  const seconds = [];
  let start = performance.now();
  try {
    const challenged = rest.includes("--challenged");
    const ask = credential(mode, wanted.replace(/\/\.default$/, ""), challenged ? ["cp1"] : undefined);
    let answer;
    for (let times = challenged || rest.includes("--twice") ? 2 : 1; times > 0; times--) {
      const rejected = challenged ? answer?.token_sha256 : undefined;
      answer = { ...described(await ask(rejected && CHALLENGE)), rejected_sha256: rejected };
      seconds.push((performance.now() - start) / 1000);
      start = performance.now();
    }
    return { ok: true, ...answer, seconds };
  } catch (error) {
    return {
      ok: false,
      error: `${error.name}: ${error.message}`,
      seconds: [...seconds, (performance.now() - start) / 1000],
    };
  }
}

main(process.argv.slice(2)).then((line) => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
  process.exitCode = line.ok ? 0 : 1;
});

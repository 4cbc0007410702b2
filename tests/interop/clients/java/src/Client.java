import com.azure.core.credential.TokenCredential;
import com.azure.core.credential.TokenRequestContext;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.identity.ManagedIdentityCredentialBuilder;
import com.azure.identity.WorkloadIdentityCredentialBuilder;
import com.azure.json.JsonProviders;
import com.azure.json.JsonReader;
import com.azure.json.JsonWriter;
import com.microsoft.aad.msal4j.ManagedIdentityApplication;
import com.microsoft.aad.msal4j.ManagedIdentityId;
import com.microsoft.aad.msal4j.ManagedIdentityParameters;
import java.io.IOException;
import java.io.StringWriter;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;

/** {@code Client mi|dac|token-proxy|msal RESOURCE_OR_SCOPE [--twice]}: a token by azure-identity or msal4j, told as one line of JSON. */
public final class Client {
    /** A token and when it expires, in Unix seconds. */
    private record Token(String text, long expiresOn) {}

    private static final String CLIENT_ID = System.getenv("WISP_CLIENT_ID");
    private static final String OBJECT_ID = System.getenv("WISP_OBJECT_ID");
    private static final String RESOURCE_ID = System.getenv("WISP_RESOURCE_ID");

    public static void main(String[] arguments) throws IOException {
        String resource = arguments[1].replaceFirst("/\\.default$", "");
        int times = List.of(arguments).contains("--twice") ? 2 : 1;
        Map<String, Object> line = run(arguments[0], resource, times);
        StringWriter text = new StringWriter();
        try (JsonWriter writer = JsonProviders.createWriter(text)) {
            writer.writeMap(line, JsonWriter::writeUntyped);
        }
        System.out.println(text);
        System.exit(line.get("ok") == Boolean.TRUE ? 0 : 1); // the SDKs leave threads behind
    }

    private static Map<String, Object> run(String mode, String resource, int times) {
        Map<String, Object> line = new LinkedHashMap<>();
        List<Double> seconds = new ArrayList<>();
        long start = System.nanoTime();
        try {
            Callable<Token> ask = credential(mode, resource);
            for (int n = 0; n < times; n++) {
                line.putAll(described(ask.call()));
                seconds.add((System.nanoTime() - start) / 1e9);
                start = System.nanoTime();
            }
            line.put("ok", true);
        } catch (Throwable error) {
            seconds.add((System.nanoTime() - start) / 1e9);
            line.put("ok", false);
            line.put("error", explained(error));
        }
        line.put("seconds", seconds);
        return line;
    }

    private static Callable<Token> credential(String mode, String resource) throws Exception {
        if (mode.equals("msal")) {
            ManagedIdentityApplication application = ManagedIdentityApplication.builder(identity()).build();
            ManagedIdentityParameters parameters = ManagedIdentityParameters.builder(resource).build();
            return () -> {
                var answer = application.acquireTokenForManagedIdentity(parameters).get();
                return new Token(answer.accessToken(), answer.expiresOnDate().getTime() / 1000);
            };
        }
        TokenCredential made =
                switch (mode) {
                    case "dac" -> defaultCredential();
                    case "token-proxy" -> new WorkloadIdentityCredentialBuilder().enableAzureProxy().build();
                    default -> managedIdentity();
                };
        TokenRequestContext wanted = new TokenRequestContext().addScopes(resource + "/.default");
        return () -> {
            var token = made.getTokenSync(wanted);
            return new Token(token.getToken(), token.getExpiresAt().toEpochSecond());
        };
    }

    private static ManagedIdentityId identity() {
        if (CLIENT_ID != null) return ManagedIdentityId.userAssignedClientId(CLIENT_ID);
        if (OBJECT_ID != null) return ManagedIdentityId.userAssignedObjectId(OBJECT_ID);
        if (RESOURCE_ID != null) return ManagedIdentityId.userAssignedResourceId(RESOURCE_ID);
        return ManagedIdentityId.systemAssigned();
    }

    private static TokenCredential managedIdentity() {
        ManagedIdentityCredentialBuilder builder = new ManagedIdentityCredentialBuilder();
        if (CLIENT_ID != null) builder.clientId(CLIENT_ID);
        if (OBJECT_ID != null) builder.objectId(OBJECT_ID);
        if (RESOURCE_ID != null) builder.resourceId(RESOURCE_ID);
        return builder.build();
    }

    private static TokenCredential defaultCredential() {
        DefaultAzureCredentialBuilder builder = new DefaultAzureCredentialBuilder();
        if (CLIENT_ID != null) builder.managedIdentityClientId(CLIENT_ID);
        if (RESOURCE_ID != null) builder.managedIdentityResourceId(RESOURCE_ID);
        return builder.build();
    }

    private static Map<String, Object> described(Token token) throws Exception {
        byte[] payload = Base64.getUrlDecoder().decode(token.text().split("\\.")[1]);
        Map<String, Object> shown = new LinkedHashMap<>();
        shown.put("expires_on", token.expiresOn());
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(token.text().getBytes());
        shown.put("token_sha256", HexFormat.of().formatHex(digest));
        try (JsonReader reader = JsonProviders.createReader(payload)) {
            Map<String, Object> claims = reader.readMap(JsonReader::readUntyped);
            for (String name : List.of("appid", "oid", "aud")) shown.put(name, claims.get(name));
        }
        return shown;
    }

    /** Return the types and texts of an error and its causes. */
    private static String explained(Throwable error) {
        List<String> texts = new ArrayList<>();
        for (Throwable each = error; each != null; each = each.getCause()) {
            texts.add(each.getClass().getName() + ": " + each.getMessage());
        }
        return String.join(" | ", texts);
    }
}

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.InputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/**
 * {@code Client hadoop RESOURCE [--twice]}: reads a file from the service at WISP_SERVICES by Hadoop's ABFS file system,
 * which gets its token from a managed identity. Prints one line of JSON: what it read, which is the description of the
 * token that it showed there.
 */
public final class Client {
    private static final String OAUTH = "fs.azure.account.oauth2.";

    public static void main(String[] arguments) throws Exception {
        int times = List.of(arguments).contains("--twice") ? 2 : 1;
        Map<String, Object> line = run(times);
        System.out.println(new ObjectMapper().writeValueAsString(line));
        System.exit(line.get("ok") == Boolean.TRUE ? 0 : 1); // Hadoop leaves threads behind
    }

    private static Map<String, Object> run(int times) {
        Map<String, Object> line = new LinkedHashMap<>();
        List<Double> seconds = new ArrayList<>();
        long start = System.nanoTime();
        try (FileSystem files = FileSystem.newInstance(URI.create("abfs://container@account.dfs.core.windows.net/"), configuration())) {
            for (int n = 0; n < times; n++) {
                try (InputStream content = files.open(new Path("/token.json"))) {
                    String text = new String(content.readAllBytes(), StandardCharsets.UTF_8);
                    line.putAll(new ObjectMapper().readValue(text, Map.class));
                }
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

    private static Configuration configuration() {
        Configuration made = new Configuration(false);
        made.set("fs.abfs.impl", "org.apache.hadoop.fs.azurebfs.AzureBlobFileSystem");
        made.set("fs.azure.abfs.endpoint", URI.create(System.getenv("WISP_SERVICES")).getAuthority());
        made.set("fs.azure.account.hns.enabled", "false");
        made.set("fs.azure.io.retry.max.retries", "0");
        made.set("fs.azure.ssl.channel.mode", "Default_JSSE");
        made.set("fs.azure.account.auth.type", "OAuth");
        made.set("fs.azure.account.oauth.provider.type", "org.apache.hadoop.fs.azurebfs.oauth2.MsiTokenProvider");
        String endpoint = System.getenv("IDENTITY_ENDPOINT");
        if (endpoint != null) made.set(OAUTH + "msi.endpoint", endpoint);
        String clientId = System.getenv("WISP_CLIENT_ID");
        if (clientId != null) made.set(OAUTH + "client.id", clientId);
        return made;
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

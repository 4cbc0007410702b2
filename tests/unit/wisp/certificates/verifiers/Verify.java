import java.io.FileInputStream;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

/** Verify a server's chain by a CA bundle: java Verify.java BUNDLE CHAIN. */
public class Verify {
    public static void main(String[] arguments) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        for (Certificate certificate : factory.generateCertificates(new FileInputStream(arguments[0]))) {
            trusted.setCertificateEntry("authority " + trusted.size(), certificate);
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance("PKIX");
        managers.init(trusted);
        X509Certificate[] chain =
            factory.generateCertificates(new FileInputStream(arguments[1])).toArray(new X509Certificate[0]);
        ((X509TrustManager) managers.getTrustManagers()[0]).checkServerTrusted(chain, "UNKNOWN"); // as in TLS 1.3
    }
}

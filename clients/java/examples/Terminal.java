import io.github.rollcallgo.client.ClientBuilder;
import io.github.rollcallgo.client.Message;
import io.github.rollcallgo.client.Push;
import io.github.rollcallgo.client.RollcallClient;
import io.github.rollcallgo.client.RollcallException;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.CompletionException;

/**
 * A terminal for people. It logs on, shows what comes, and sends what is typed to a user:
 *
 * <pre>
 * java -cp build/classes examples/Terminal.java tcp://localhost:9000 alice
 * @bob hello, bob
 * ?bob carol
 * </pre>
 *
 * <p>A line that begins with @ and a user goes to that user, one with ? asks which users are online, and any other goes to the server.
 * The token, if the server wants one, is in the environment variable TOKEN.
 */
public final class Terminal {
    private static final int CHAT = 1;

    private Terminal() {
    }

    /** The arguments are the address and the user. */
    public static void main(String[] args) throws IOException {
        if (args.length != 2) {
            System.err.println("usage: Terminal tcp://HOST:PORT USER");
            System.exit(2);
        }
        ClientBuilder builder = RollcallClient.builder(args[0]).user(args[1])
            .token(() -> System.getenv("TOKEN"))
            .onMessage(CHAT, Terminal::show)
            .onPush(Terminal::show)
            .onState(change -> System.out.println("* " + change));
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (RollcallClient client = builder.connect()) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                write(client, line.trim());
            }
        } catch (RollcallException e) {
            System.err.println(e.getMessage());
            System.exit(1);
        }
    }

    private static void show(Message m) throws RollcallException {
        System.out.println((m.from().isEmpty() ? "the server" : m.from()) + ": " + m.text());
        if (m.isRequest()) {
            m.reply("seen".getBytes(StandardCharsets.UTF_8));
        }
    }

    private static void show(Push p) {
        System.out.println("push " + p.id() + ": " + (p.kind() == Push.BINARY ? p.content().length + " bytes" : p.text()));
    }

    private static void write(RollcallClient client, String line) {
        try {
            if (line.startsWith("?")) {
                System.out.println("online: " + client.whoIsOnline(Arrays.asList(line.substring(1).split(" +"))).join());
            } else if (line.startsWith("@")) {
                String[] words = line.substring(1).split(" +", 2);
                byte[] body = words[words.length - 1].getBytes(StandardCharsets.UTF_8);
                System.out.println(words[0] + " says: " + client.requestTo(words[0], CHAT, body).join().text());
            } else if (!line.isEmpty()) {
                client.send(CHAT, line.getBytes(StandardCharsets.UTF_8));
            }
        } catch (CompletionException e) {
            System.out.println("* " + e.getCause().getMessage());
        } catch (RollcallException | IllegalArgumentException e) {
            System.out.println("* " + e.getMessage());
        }
    }
}

import java.util.concurrent.atomic.AtomicBoolean;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.handler.AbstractHandler;
import org.eclipse.jetty.util.thread.QueuedThreadPool;

/** A Jetty server that takes its listener from graceinit and ends without losing a request. */
public class App extends AbstractHandler {
    private final AtomicBoolean draining = new AtomicBoolean();

    @Override
    public void handle(String target, Request base, HttpServletRequest request, HttpServletResponse response)
            throws java.io.IOException {
        if (target.equals("/slow")) {
            try {
                Thread.sleep(4000);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
        if (draining.get()) {
            response.setHeader("Connection", "close");
        }
        response.setContentType("text/plain");
        response.getWriter().println("pid " + ProcessHandle.current().pid());
        base.setHandled(true);
    }

    public static void main(String[] args) throws Exception {
        App app = new App();
        Server server = new Server(new QueuedThreadPool(64));
        ServerConnector connector = new ServerConnector(server);
        // The listener that graceinit holds, at fd 0: Java can inherit a socket only there. Without one Jetty listens.
        connector.setInheritChannel(true);
        connector.setPort(8080);
        // Connections on which nothing happens end after so long, in a drain too.
        connector.setIdleTimeout(5000);
        server.addConnector(connector);
        server.setHandler(app);
        server.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> app.drain(connector)));
        notifyReady();
        server.join();
    }

    /** Server.stop() would answer requests on kept connections with 503, or close them. */
    private void drain(ServerConnector connector) {
        try {
            draining.set(true);
            connector.shutdown(); // no further accept
            connector.close(); // our copy of the listener
            while (!connector.getConnectedEndPoints().isEmpty()) {
                Thread.sleep(50);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        Runtime.getRuntime().halt(0); // 143 otherwise
    }

    /** Java has no datagram sockets of the unix kind, so graceinit says READY=1 for us. */
    private static void notifyReady() throws Exception {
        if (System.getenv("NOTIFY_SOCKET") != null) {
            new ProcessBuilder("/graceinit", "notify", "READY=1").inheritIO().start().waitFor();
        }
    }
}

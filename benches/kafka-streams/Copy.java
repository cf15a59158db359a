import java.io.File;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Stream;

import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/**
 * One topic into another by Kafka Streams, exactly once, one stream thread: the peer of the benchmark {@code kafka}.
 *
 * <p>Measures from the first record behind the warm-up to the end of {@code close}, which commits the rest. What is
 * warmed up is the JVM: classes are loaded and code is compiled by then. Prints one line: records, ns of the clock and
 * ns of processor time of the whole JVM, its compiler and garbage collector threads among them. It does not check
 * what arrived; the benchmark reads the topic.
 */
public final class Copy {
    private static final CountDownLatch DONE = new CountDownLatch(1);
    private static volatile boolean failed;
    // Written by the one stream thread, and read after the latch.
    private static long seen;
    private static long wall;
    private static long cpu;

    private Copy() {}

    private static long cpuTime() {
        var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        return system.getProcessCpuTime();
    }

    private static Properties settings(String brokers, String name, File state, boolean tuned) {
        var settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, name);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, state.getPath());
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        if (tuned) {
            // What librdkafka does unless told otherwise, in place of 100 ms and 16 KiB.
            settings.put(StreamsConfig.producerPrefix("linger.ms"), 5);
            settings.put(StreamsConfig.producerPrefix("batch.size"), 1_000_000);
        }
        return settings;
    }

    public static void main(String[] args) throws Exception {
        String brokers = args[0];
        String input = args[1];
        String output = args[2];
        long records = Long.parseLong(args[3]);
        long warm = Long.parseLong(args[4]);
        boolean tuned = args[5].equals("tuned");
        var state = Files.createTempDirectory("kafka-streams");
        var bytes = Serdes.ByteArray();
        var topology = new StreamsBuilder();
        topology.stream(input, Consumed.with(bytes, bytes))
                .peek((key, value) -> {
                    if (seen == warm) {
                        wall = System.nanoTime();
                        cpu = cpuTime();
                    }
                    if (++seen == records) {
                        DONE.countDown();
                    }
                })
                .to(output, Produced.with(bytes, bytes));
        var settings = settings(brokers, "streams-" + output, state.toFile(), tuned);
        try (var streams = new KafkaStreams(topology.build(), settings)) {
            streams.setUncaughtExceptionHandler(error -> {
                error.printStackTrace();
                failed = true;
                DONE.countDown();
                return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            streams.start();
            DONE.await();
            streams.close(Duration.ofSeconds(60));
        }
        wall = System.nanoTime() - wall;
        cpu = cpuTime() - cpu;
        try (Stream<Path> left = Files.walk(state)) {
            left.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(File::delete);
        }
        if (failed || seen != records) {
            System.err.println("kafka-streams: took " + seen + " of " + records + " records");
            System.exit(1);
        }
        System.out.println("measured " + (records - warm) + " " + wall + " " + cpu);
    }
}

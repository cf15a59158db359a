-- A bid is in five windows: those that end 2, 4, 6, 8 and 10 seconds after the last even second.
WITH counted AS (
    SELECT auction, epoch_ms("dateTime") // 2000 + step AS period, count(*) AS num
    FROM bid, range(1, 6) AS steps(step)
    GROUP BY ALL
)
SELECT auction, num FROM counted QUALIFY num = max(num) OVER (PARTITION BY period)

WITH came AS (SELECT DISTINCT id, name, time_bucket(INTERVAL 10 SECONDS, "dateTime") AS stime FROM person),
    sold AS (SELECT DISTINCT seller, time_bucket(INTERVAL 10 SECONDS, "dateTime") AS stime FROM auction)
SELECT id, name, stime FROM came JOIN sold USING (stime) WHERE id = seller

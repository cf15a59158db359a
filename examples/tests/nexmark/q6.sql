SELECT seller,
    sum(price) OVER last // count(*) OVER last AS avg_price
FROM winner
WINDOW last AS (PARTITION BY seller ORDER BY "dateTime", id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW)

-- Lists begin with 1; what a list does not have is NULL.
SELECT auction, bidder, price, channel, dirs[4] AS dir1, dirs[5] AS dir2, dirs[6] AS dir3
FROM (SELECT *, string_split(url, '/') AS dirs FROM bid)

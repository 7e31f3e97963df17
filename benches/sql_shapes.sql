-- Nine shapes of questions to a year of weather, in SQL that Isobar, DataFusion and DuckDB read alike.

-- daily: the daily aggregate of every city
SELECT dt, city_id, count(*) AS n, avg(temp) AS temp_avg, min(temp) AS temp_min, max(temp) AS temp_max, sum(rain_1h) AS rain
FROM weather GROUP BY dt, city_id;

-- day: one day
SELECT city, avg(temp) AS temp_avg, max(wind_speed) AS wind FROM weather WHERE dt = DATE '2026-01-15' GROUP BY city;

-- count: how many rows there are of one kind
SELECT count(*) AS n FROM weather WHERE aqi >= 4 AND humidity > 60;

-- extremes: of every city
SELECT city, min(temp) AS coldest, max(temp) AS hottest, max(wind_gust) AS gust FROM weather GROUP BY city ORDER BY hottest DESC;

-- top: ten rows
SELECT event_time, city, temp FROM weather ORDER BY temp DESC, event_time, city LIMIT 10;

-- texts: distinct ones, and grouping by them
SELECT condition, description, count(DISTINCT city) AS cities, count(*) AS n FROM weather GROUP BY condition, description;

-- window: what changed since the last observation
SELECT city_id, max(change) AS steepest
FROM (SELECT city_id, temp - lag(temp) OVER (PARTITION BY city_id ORDER BY event_time) AS change FROM weather) AS changes
GROUP BY city_id;

-- wide: whole rows of one city
SELECT * FROM weather WHERE city_id = 42 AND temp > 30 ORDER BY event_time LIMIT 100;

-- like: a pattern in the messages
SELECT count(*) AS n, max(temp) AS hottest FROM weather WHERE value LIKE '%"id":501,%gust%';

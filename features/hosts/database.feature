# What does the database of the application report? Some problems are visible nowhere else: jobs that fail one after the
# other, mail that is no longer imported, a replica that lags.
#
# Needs in stepwatch.yml: database "records" (docs/configuration.md), with a user who may read the queried tables and
# nothing else. Replace the queries with those of your application. Each should return one row with one value, which
# /metrics then shows as stepwatch_sql_value.
@every:1m
Feature: Database

  Scenario: Few jobs have failed
    When I query the database "records" for "SELECT count(*) FROM jobs WHERE failed_at IS NOT NULL"
    Then the query gives less than 10

  # A job that waits for long means that no worker runs.
  Scenario: No job waits for long
    When I query the database "records"
      """
      SELECT id, run_at FROM jobs
      WHERE failed_at IS NULL AND run_at < now() - interval '15' minute
      """
    Then the query gives no rows

  @every:15m
  Scenario: Mail is taken in
    When I query the database "records" for "SELECT max(created_at) FROM incoming_messages"
    Then the query gives a time in the last 24 hours

Feature: MySQL

  @step
  Scenario: it should have less than <limit:number> slow queries per second[ on "<host:server=localhost>"]
    It counts for one second.
    When I run the plugin "../../plugins/check_slow_queries <limit> <host> 1"

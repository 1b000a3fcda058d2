Feature: The database

  Scenario: Slow queries
    Then it should have less than 5 slow queries per second on "db.example.org"

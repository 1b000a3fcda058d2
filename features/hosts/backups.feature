# Is there a backup that could be restored? It must be from last night, complete, and about as large as the one before:
# a backup that is suddenly half as large has lost something. Old backups must be removed, and enough of them must stay.
#
# Needs nothing in stepwatch.yml, but must run on the machine with the files, as a user who may read them. Replace paths
# and numbers with yours. If writing a backup takes hours, use a day plus those hours for "younger than". Reading a
# large file to its end takes some seconds per gigabyte: allow the time with @timeout, and do it only as often as it is
# worth.
@every:15m
Feature: Backups

  Scenario: Last night's backup is there
    When I look at the newest file of "/var/backups/mail-*.tar.zst"
    Then the file is younger than 26 hours
    And the file has at least 10 MB
    And the file has at least 50% of the size of the one before

  Scenario: Backups are kept for a week, and no longer than five
    When I look at the newest file of "/var/backups/mail-*.tar.zst"
    Then at least 7 files are kept
    And no file is older than 35 days

  @every:12h @timeout:10m
  Scenario: It can be unpacked
    When I look at the newest file of "/var/backups/mail-*.tar.zst"
    Then the file is a whole archive

  # When the disk is full or the server goes away, pg_dump replaces a good dump with a broken one.
  @every:12h @timeout:10m
  Scenario: The dump of the database is complete
    When I look at the newest file of "/var/backups/records-*.dump"
    Then the file is younger than 26 hours
    And the file is a complete PostgreSQL dump
    And the dump has at least 20 tables

  # A dump contains everything that the database protects.
  Scenario: Nobody else can read it
    When I look at the newest file of "/var/backups/records-*.dump"
    Then the file has mode "600"

# Is there a backup from which a restore would work? It must be of last night, whole, and about as large as the one before:
# a backup that is suddenly half as large has lost something. Old ones must go, and enough of them stay.
#
# Needs nothing in stepwatch.yml, but runs on the machine that has the files, as a user who may read them. Replace paths and
# numbers by yours. Where a backup is written for hours, "younger than" is a day and these hours. To read a large one to its
# end takes some seconds a gigabyte: give the scenario the time by @timeout, and do it as often as it pays.
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

  # pg_dump writes no dump into the place of an old one but a broken one when the disk is full or the server goes away.
  @every:12h @timeout:10m
  Scenario: The dump of the database is complete
    When I look at the newest file of "/var/backups/records-*.dump"
    Then the file is younger than 26 hours
    And the file is a complete PostgreSQL dump
    And the dump has at least 20 tables

  # Dumps hold all that the database protects.
  Scenario: Nobody else can read it
    When I look at the newest file of "/var/backups/records-*.dump"
    Then the file has mode "600"

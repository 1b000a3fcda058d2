# Do the required services run on this machine, and did the nightly jobs run? A job that never started fails here
# although nothing complained: stepwatch checks its result, a systemd timer or a file that it writes when it is done.
#
# Needs nothing in stepwatch.yml, but must run on the machine itself. Delete the rows that you do not have. For a cron
# job, let its last command touch a file ("backup && touch /var/lib/jobs/backup").
@every:1m
Feature: Services

  Scenario Outline: <unit> is active
    Then the unit "<unit>" is active

    Examples:
      | unit            |
      | postfix.service |
      | dovecot.service |
      | nginx.service   |

  Scenario: The workers of the application run
    Then at least 2 processes "puma" run

  @every:5m
  Scenario: No unit has failed
    Then no unit has failed

  @every:5m
  Scenario: The machine is not overloaded
    Then the load is below 2 per core

  @every:5m
  Scenario: There is memory
    Then more than 10% of the memory is available
    And less than 80% of the swap is used

  @every:15m
  Scenario: Certificates are renewed
    Then the timer "certbot.timer" ran in the last 13 hours

  @every:15m
  Scenario: The nightly job ran
    When I look at the file "/var/lib/jobs/backup"
    Then the file was written between 02:00 and 06:30

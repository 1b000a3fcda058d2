# Do the right ports answer, and no others? A public port must be open and greet in its protocol. A port for this host
# only (a database, an administration page) must be closed, and stay closed after the next upgrade.
#
# Needs in stepwatch.yml: host "mail". Change the table to the services of your host. Run this from outside of the
# firewall: from inside, everything is open. The last scenario connects to every port up to 1024. Tell the people who
# watch for such scans.
@every:15m
Feature: Ports

  Scenario: The ports of the mail server
    Then the ports of "mail" are
      | port | state  | greeting |
      | 25   | open   | 220      |
      | 465  | open   | 220      |
      | 587  | open   | 220      |
      | 110  | open   | +OK      |
      | 143  | open   | * OK     |
      | 993  | open   | * OK     |
      | 995  | open   | +OK      |
      | 80   | open   |          |
      | 443  | open   |          |
      | 111  | closed |          |
      | 3306 | closed |          |

  # This host is also the name server of its zone (53). Most hosts also have 22, and fewer of the others.
  @every:6h
  Scenario: Only the named ports answer
    Then only ports 25, 53, 80, 110, 143, 443, 465, 587, 993, 995 of "mail" answer

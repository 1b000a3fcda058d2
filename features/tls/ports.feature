# Do the right ports answer, and no others? Each port that the world needs must be open and greet as its protocol does; what
# is for this host alone (a database, an administration page) must be shut off, and stay so after the next upgrade.
#
# Needs in stepwatch.yml: host "mail". Change the table to what your host offers. Run it from outside of the firewall:
# from inside everything is open. The last scenario connects to every port up to 1024; tell whoever watches for that.
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

  # This one is the name server of its zone too (53). Most hosts have 22 as well, and fewer of the others.
  @every:6h
  Scenario: Only the named ports answer
    Then only ports 25, 53, 80, 110, 143, 443, 465, 587, 993, 995 of "mail" answer

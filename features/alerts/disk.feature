# Is there room? A mail server whose disk is full refuses all mail for now (452), and one that has run out of inodes does so
# with half its disk free: a mailbox has a file for each message.
#
# Needs nothing in stepwatch.yml, but runs on the machine itself. Name the disks that you have: where the queue is, the
# mailboxes, the logs. Paths on the same disk are one alert too many.
@every:5m
Feature: Disk

  Scenario Outline: There is room in <path>
    Then the disk of "<path>" is less than 80% full

    Examples:
      | path       |
      | /var/spool |
      | /var/log   |

  Scenario Outline: There is room for more files in <path>
    Then the disk of "<path>" has used less than 80% of its inodes

    Examples:
      | path       |
      | /var/spool |

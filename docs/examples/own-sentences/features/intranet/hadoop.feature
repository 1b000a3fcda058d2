Feature: The cluster

  Scenario: The name node's directories
    When I go to "http://namenode.example.org:50070/dfshealth.jsp"
    Then the directories should be "Active"

  Scenario: Last night's import
    When I navigate to dfs path "/import" on "namenode.example.org"
    Then I should see "_SUCCESS"

"""The minimum of a function over DynamoDB: a bare client and one GetItem."""

import os

import botocore.session

client = botocore.session.get_session().create_client("dynamodb", region_name=os.environ["AWS_REGION"])


def lambda_handler(event, context):
    answer = client.get_item(
        TableName=os.environ["TABLE_NAME"],
        Key={"pk": {"S": "CLASS#1"}, "sk": {"S": "CLASS"}},
        ConsistentRead=True,
    )
    return {"statusCode": 200, "body": str(len(answer))}

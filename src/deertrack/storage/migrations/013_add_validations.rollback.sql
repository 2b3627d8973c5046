DROP TABLE IF EXISTS validations;

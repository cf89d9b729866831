/** The version of the program; held against package.json by a test. */
export const version = '0.1.0';

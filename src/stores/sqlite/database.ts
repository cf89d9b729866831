import { chmodSync, closeSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { SupercargoError } from '../../model/errors.ts';

/** Long enough for a predecessor that is just being stopped, short enough for a person who started a second one by mistake. */
const lockWaitMilliseconds = 1_000;
const sqliteBusy = 5;

/** Entry N brings a store from version N to N + 1. Entries are never changed, only added. */
const migrations = [
  `CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
   INSERT INTO counters VALUES ('revision', 0), ('compacted', 0);
   CREATE TABLE leases (name TEXT PRIMARY KEY, duration REAL NOT NULL) STRICT, WITHOUT ROWID;
   CREATE TABLE entries (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL, lease TEXT REFERENCES leases) STRICT, WITHOUT ROWID;
   CREATE INDEX entries_by_lease ON entries (lease) WHERE lease IS NOT NULL;
   CREATE TABLE history (revision INTEGER NOT NULL, key TEXT NOT NULL, value TEXT, PRIMARY KEY (revision, key)) STRICT, WITHOUT ROWID;`,
  // The same tables, but records with named snapshots: a release from before would drop the names at its first write, and then the snapshots.
  '',
];

/**
 * Opens the database file for this process alone and brings its schema up to date.
 * @throws wrong-state if another process has the file open, or a newer release wrote it
 */
export function openDatabase(path: string): DatabaseSync {
  if (path !== ':memory:') restrictToOwner(path);
  const database = new DatabaseSync(path, { timeout: lockWaitMilliseconds, enableForeignKeyConstraints: true });
  try {
    // Before the first read: with WAL this lock is then held until the file is closed, and dies with the process.
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
    migrate(database, path);
    return database;
  } catch (error) {
    database.close();
    if (!isBusy(error)) throw error;
    throw new SupercargoError('wrong-state', `The store ${path} is in use by another process.`, {
      hint: 'Only one name server may run on a directory: stop the other one, or give this one another directory.',
      cause: error,
    });
  }
}

function restrictToOwner(path: string): void {
  closeSync(openSync(path, 'a', 0o600));
  chmodSync(path, 0o600);
}

function migrate(database: DatabaseSync, path: string): void {
  database.exec('BEGIN IMMEDIATE');
  const version = Number(database.prepare('PRAGMA user_version').get()?.['user_version']);
  if (version > migrations.length) {
    throw new SupercargoError('wrong-state', `The store ${path} has schema version ${version}; this release knows ${migrations.length}.`, {
      hint: 'A newer release of Supercargo wrote it: start that release or a later one.',
    });
  }
  for (const statements of migrations.slice(version)) database.exec(statements);
  database.exec(`PRAGMA user_version = ${migrations.length}; COMMIT`);
}

function isBusy(error: unknown): boolean {
  const code = error instanceof Error && 'errcode' in error ? Number(error.errcode) : 0;
  return (code & 0xff) === sqliteBusy; // the low byte is the primary result code
}

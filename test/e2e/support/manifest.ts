import type { Host } from '../../../testbed/lab.ts';

/** Everything of a folder that a move must keep, as text: two equal texts are two equal folders. Change times and inode numbers are not kept. */
const manifestScript = String.raw`
set -euo pipefail
export LC_ALL=C
cd "$1"
echo '# type, mode, owner, size, links, modification time, target, name'
find . -printf '%y %m %U:%G %s %n %T@ %l %P\n' | sort
echo '# content'
find . -type f -exec sha256sum {} + | sort -k 2
echo '# blocks in use: holes are kept'
find . -type f -size +1M -printf '%b %P\n' | sort -k 2
echo '# extended attributes'
find . -print0 | sort -z | xargs -0 getfattr --no-dereference --dump --match=- --encoding=hex
echo '# access control lists'
find . ! -type l -print0 | sort -z | xargs -0 getfacl --numeric --omit-header
echo '# device numbers'
find . \( -type b -o -type c \) -exec stat --format '%n %t:%T' {} + | sort
echo '# hard links'
find . -type f -links +1 -printf '%P\n' | sort | while read -r name; do
  echo "$name: $(find . -samefile "$name" -printf '%P ' | tr ' ' '\n' | sort | tr '\n' ' ')"
done
`;

export async function manifest(host: Host, folder: string): Promise<string> {
  return (await host.run(['bash', '-c', manifestScript, 'manifest', folder])).stdout;
}

/** One of each kind of file, owner, mode, time and attribute. */
const menagerieScript = String.raw`
set -euo pipefail
cd "$1"
umask 022
mkdir -p folder/deep 'name with spaces and ünïcode'
head -c 3000000 /dev/urandom > bytes
head -c 200 /dev/urandom > 'name with spaces and ünïcode/inline'
: > empty
for number in $(seq 300); do echo "$number" > "folder/deep/$number"; done
mkdir "folder/$(printf 'x%.0s' $(seq 255))"
echo owned > owned && chown 1000:2000 owned
echo unknown-owner > unknown-owner && chown 4000000:4000001 unknown-owner
echo modes > setuid && chown 1000:1000 setuid && chmod 6755 setuid
echo secret > secret && chmod 0000 secret
mkdir sticky && chmod 3777 sticky
echo linked > folder/original
ln folder/original hard-link
ln folder/original folder/deep/hard-link
echo twin | tee twin > other-twin && touch --reference twin other-twin
ln twin twin-link
ln other-twin other-twin-link
ln -s folder/original symbolic-link
ln -s /nowhere/at/all dangling-link
chown -h 1234:4321 dangling-link
mkfifo -m 640 fifo
mknod -m 660 null-device c 1 3
mknod -m 600 block-device b 7 200
truncate -s 200M sparse
printf middle | dd of=sparse bs=1 seek=150000000 conv=notrunc status=none
echo attributes > attributes
setfattr -n user.comment -v 'kept on every host' attributes
setfattr -n user.binary -v 0x00ff007f80 attributes
setfattr -n trusted.supercargo -v yes folder
echo capable > capable && chmod 755 capable
setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 capable
echo listed > listed
setfacl -m u:1000:rw-,u:4242:r--,g:2000:r-x,m::rwx listed
setfacl -m u:1000:rwx -d -m u:1000:rwx,g:2000:r-x folder
touch --date '1999-12-31 23:59:59.123456789 UTC' owned
touch --date '2038-01-20 03:14:08.987654321 UTC' bytes
touch --no-dereference --date '2001-02-03 04:05:06.000000007 UTC' symbolic-link fifo
touch --date '2011-11-11 11:11:11.111111111 UTC' folder/deep folder sticky
chown 999:999 . && chmod 2750 .
touch --date '2020-02-20 20:20:20.202020202 UTC' .
`;

export async function fillWithMenagerie(host: Host, folder: string): Promise<void> {
  await host.run(['bash', '-c', menagerieScript, 'menagerie', folder]);
}

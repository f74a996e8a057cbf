//! One integration binary; each module reads like the feature it proves.
mod boot_images;
mod commands;
mod dhcp_wire;
mod house;
mod install_script;
mod lab;
mod pages;
mod road;
mod storage;
mod support;
mod tftp_clients;
mod tftp_kit;
mod tftp_options;
mod tftp_service;
mod tftp_wire;
mod topologies;
